"""merge log and counts."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.execute("CREATE TEMPORARY TABLE old_merge AS SELECT merged_id, person_id, project_id FROM person_merge")
    op.drop_table("person_merge")
    op.create_table(
        "person_merge",
        sa.Column("sequence", BIG_KEY, nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("merged_id", sa.BigInteger(), nullable=False),
        sa.Column("person_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_person_merge_project_id_project"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_person_merge")),
        sa.UniqueConstraint("merged_id", name=op.f("uq_person_merge_merged_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_person_merge_person_id"), "person_merge", ["person_id"])
    op.create_index("ix_person_merge_project_id_sequence", "person_merge", ["project_id", "sequence"])
    # Merged persons already pointed to the final person: each gets one entry of the log.
    op.execute(
        "INSERT INTO person_merge (project_id, merged_id, person_id)"
        " SELECT project_id, merged_id, person_id FROM old_merge ORDER BY merged_id"
    )
    op.execute("DROP TABLE old_merge")

    op.create_index("ix_fact_series_id_person_id", "fact", ["series_id", "person_id"])
    op.create_table(
        "count",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("watermark", sa.BigInteger(), nullable=False),
        sa.Column("merge_mark", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_count_project_id_project"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_count")),
        sa.UniqueConstraint("project_id", "digest", name=op.f("uq_count_project_id_digest")),
    )


def downgrade() -> None:
    op.drop_table("count")
    op.drop_index("ix_fact_series_id_person_id", "fact")
    op.execute(
        "CREATE TEMPORARY TABLE old_merge AS WITH RECURSIVE followed (merged_id, person_id, project_id) AS ("
        " SELECT merged_id, person_id, project_id FROM person_merge"
        " UNION SELECT followed.merged_id, further.person_id, followed.project_id FROM followed"
        " JOIN person_merge further ON further.merged_id = followed.person_id"
        ") SELECT * FROM followed WHERE person_id IN (SELECT id FROM person)"
    )
    op.drop_table("person_merge")
    op.create_table(
        "person_merge",
        sa.Column("merged_id", BIG_KEY, autoincrement=False, nullable=False),
        sa.Column("person_id", BIG_KEY, nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name=op.f("fk_person_merge_person_id_person"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_person_merge_project_id_project"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("merged_id", name=op.f("pk_person_merge")),
    )
    op.create_index(op.f("ix_person_merge_person_id"), "person_merge", ["person_id"])
    op.create_index("ix_person_merge_project_id", "person_merge", ["project_id"])
    op.execute("INSERT INTO person_merge SELECT merged_id, person_id, project_id FROM old_merge")
    op.execute("DROP TABLE old_merge")
