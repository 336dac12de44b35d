"""hash key overrides."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TABLE = "feature_flag_hash_key_override"
BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        TABLE,
        sa.Column("person_id", BIG_KEY, nullable=False),
        sa.Column("feature_flag_key", sa.String(length=400), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("hash_key", sa.String(length=400), nullable=False),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name=op.f(f"fk_{TABLE}_person_id_person"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f(f"fk_{TABLE}_project_id_project"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("person_id", "feature_flag_key", name=op.f(f"pk_{TABLE}")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f(f"ix_{TABLE}_project_id"), TABLE, ["project_id"])


def downgrade() -> None:
    op.drop_table(TABLE)
