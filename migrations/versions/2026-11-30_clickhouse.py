"""Facts in ClickHouse."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0029"
down_revision: str | None = "0028"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "clickhouse_migration",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("applied_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_clickhouse_migration")),
    )
    op.add_column("series", sa.Column("is_in_clickhouse", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("series", sa.Column("inserting_until", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("series", sa.Column("may_repeat_since", sa.BigInteger(), server_default="0", nullable=False))


def downgrade() -> None:
    op.drop_column("series", "may_repeat_since")
    op.drop_column("series", "inserting_until")
    op.drop_column("series", "is_in_clickhouse")
    op.drop_table("clickhouse_migration")
