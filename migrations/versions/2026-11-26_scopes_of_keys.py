"""scopes of keys."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    # Existing keys have all scopes, and so do those that an older version still creates.
    op.add_column("personal_api_key", sa.Column("scopes", sa.JSON(), nullable=False, server_default='["*"]'))


def downgrade() -> None:
    # Without scopes, a limited key would become an unlimited one: such keys are deleted.
    op.execute("DELETE FROM personal_api_key WHERE CAST(scopes AS TEXT) <> '[\"*\"]'")
    op.drop_column("personal_api_key", "scopes")
