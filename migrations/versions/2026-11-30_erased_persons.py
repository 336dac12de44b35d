"""What is left of erased persons. Ids of persons are 64-bit numbers, which the activity log now names."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0017"
down_revision: str | None = "0016"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "erased_person",
        sa.Column("person_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("has_events", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_erased_person_project_id_project"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("person_id", name=op.f("pk_erased_person")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_erased_person_project_id"), "erased_person", ["project_id"])
    op.create_table(
        "erased_person_answer",
        sa.Column("person_id", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("passes", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["person_id"],
            ["erased_person.person_id"],
            name=op.f("fk_erased_person_answer_person_id_erased_person"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_erased_person_answer_project_id_project"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("person_id", "digest", name=op.f("pk_erased_person_answer")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_erased_person_answer_project_id_digest", "erased_person_answer", ["project_id", "digest"])
    if op.get_bind().dialect.name == "postgresql":  # SQLite's integers have 64 bits
        op.alter_column("activity_entry", "item_id", type_=sa.BigInteger(), existing_type=sa.Integer())


def downgrade() -> None:
    op.drop_table("erased_person_answer")
    op.drop_table("erased_person")
