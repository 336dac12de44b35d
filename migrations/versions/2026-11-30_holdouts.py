"""Holdouts that several experiments share, and experiments on flags that existed before."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0023"
down_revision: str | None = "0022"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "experiment_holdout",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=400), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("filters", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_by_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["created_by_id"], ["user.id"], name=op.f("fk_experiment_holdout_created_by_id_user"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_experiment_holdout_project_id_project"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_experiment_holdout")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_experiment_holdout_project_id_created_at_id", "experiment_holdout", ["project_id", "created_at", "id"]
    )
    # Not in a batch: on SQLite it copies the table, and dropping the old one would delete all rows that refer to it.
    # In SQL, because Alembic adds the foreign key on its own, which SQLite cannot.
    op.execute(
        "ALTER TABLE experiment ADD COLUMN holdout_id INTEGER "
        "CONSTRAINT fk_experiment_holdout_id_experiment_holdout REFERENCES experiment_holdout (id)"
    )
    op.create_index("ix_experiment_holdout_id", "experiment", ["holdout_id"])
    op.add_column(
        "experiment", sa.Column("uses_existing_flag", sa.Boolean(), nullable=False, server_default=sa.false())
    )


def downgrade() -> None:
    op.drop_column("experiment", "uses_existing_flag")
    op.drop_index("ix_experiment_holdout_id", table_name="experiment")
    op.drop_column("experiment", "holdout_id")
    op.drop_index("ix_experiment_holdout_project_id_created_at_id", table_name="experiment_holdout")
    op.drop_table("experiment_holdout")
