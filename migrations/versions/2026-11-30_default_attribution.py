"""Add the attribution that experiments of a project have by default."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0019"
down_revision: str | None = "0018"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column(
        "project", sa.Column("default_attribution", sa.String(length=16), server_default="events", nullable=False)
    )


def downgrade() -> None:
    op.drop_column("project", "default_attribution")
