"""Typed metrics of experiments, and who is exposed."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    # Not in a batch: on SQLite it copies the table, and dropping the old one would delete all rows that refer to it.
    for name in ("metrics", "metrics_secondary", "exposure_criteria"):
        op.add_column("experiment", sa.Column(name, sa.JSON(none_as_null=True), nullable=True))
    op.add_column(
        "experiment",
        sa.Column("only_count_matured_users", sa.Boolean(), nullable=False, server_default=sa.false()),
    )


def downgrade() -> None:
    for name in ("only_count_matured_users", "exposure_criteria", "metrics_secondary", "metrics"):
        op.drop_column("experiment", name)
