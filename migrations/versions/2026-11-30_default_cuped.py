"""Add the adjustment of metrics that experiments of a project have by default."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0027"
down_revision: str | None = "0026"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("project", sa.Column("default_cuped", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    op.drop_column("project", "default_cuped")
