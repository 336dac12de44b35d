"""The table of facts has another name, so that versions which would read nulls in it as values fail instead."""

from collections.abc import Sequence

from alembic import op

revision: str = "0033"
down_revision: str | None = "0032"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.rename_table("fact", "series_fact")


def downgrade() -> None:
    op.rename_table("series_fact", "fact")
