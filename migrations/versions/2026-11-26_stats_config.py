"""How experiments are analyzed and when they are decided."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    # Not in a batch: on SQLite it copies the table, and dropping the old one would delete all rows that refer to it.
    op.add_column("experiment", sa.Column("stats_config", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("experiment", sa.Column("decision_criteria", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    op.drop_column("experiment", "decision_criteria")
    op.drop_column("experiment", "stats_config")
