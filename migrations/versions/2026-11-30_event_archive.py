"""Events in ClickHouse."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0031"
down_revision: str | None = "0030"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "event_archive",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("archived_until", sa.BigInteger(), nullable=False),
        sa.Column("sending_until", sa.BigInteger(), nullable=False),
        sa.Column("released_until", sa.BigInteger(), nullable=False),
        sa.Column("interrupted_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_event_archive_project_id_project"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("project_id", name=op.f("pk_event_archive")),
    )


def downgrade() -> None:
    op.drop_table("event_archive")
