"""Store counts uncompressed on PostgreSQL: compression took 50 ms of each result about a million persons."""

from collections.abc import Sequence

from alembic import op

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute('ALTER TABLE "count" ALTER COLUMN body SET STORAGE EXTERNAL')


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute('ALTER TABLE "count" ALTER COLUMN body SET STORAGE EXTENDED')
