"""scopes of keys."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    # Keys from before could do everything, and so can those that an older version goes on issuing.
    op.add_column("personal_api_key", sa.Column("scopes", sa.JSON(), nullable=False, server_default='["*"]'))


def downgrade() -> None:
    # A key that could do little would be one that can do everything: such keys go.
    op.execute("DELETE FROM personal_api_key WHERE CAST(scopes AS TEXT) <> '[\"*\"]'")
    op.drop_column("personal_api_key", "scopes")
