"""Groups, actors other than persons, and filters on test accounts."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "group_type",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("type_index", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=400), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_group_type_project_id_project"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_group_type")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_group_type_project_id_name")),
        sa.UniqueConstraint("project_id", "type_index", name=op.f("uq_group_type_project_id_type_index")),
    )
    op.create_table(
        "group",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("type_index", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=400), nullable=False),
        sa.Column("properties", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_group_project_id_project"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_group")),
        sa.UniqueConstraint("project_id", "type_index", "key", name=op.f("uq_group_project_id_type_index_key")),
    )
    op.create_table(
        "actor_key",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("property", sa.String(length=400), nullable=False),
        sa.Column("key", sa.String(length=400), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_actor_key_project_id_project"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_actor_key")),
        sa.UniqueConstraint("project_id", "property", "key", name=op.f("uq_actor_key_project_id_property_key")),
    )
    # Not in a batch: on SQLite it copies the table, and dropping the old one would delete all rows that refer to it.
    op.add_column(
        "project",
        sa.Column("test_account_filters", sa.JSON(none_as_null=True), nullable=False, server_default="[]"),
    )


def downgrade() -> None:
    op.drop_column("project", "test_account_filters")
    op.drop_table("actor_key")
    op.drop_table("group")
    op.drop_table("group_type")
