"""removed events."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    for table in ("project", "series"):
        op.add_column(table, sa.Column("events_since", sa.BigInteger(), server_default="0", nullable=False))


def downgrade() -> None:
    for table in ("series", "project"):
        op.drop_column(table, "events_since")
