"""facts by person."""

from collections.abc import Sequence

from alembic import op

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.drop_index("ix_fact_series_id_person_id", "fact")
    op.create_index("ix_fact_person_id_series_id", "fact", ["person_id", "series_id"])


def downgrade() -> None:
    op.drop_index("ix_fact_person_id_series_id", "fact")
    op.create_index("ix_fact_series_id_person_id", "fact", ["series_id", "person_id"])
