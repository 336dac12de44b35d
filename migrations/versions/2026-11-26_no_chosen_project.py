"""no chosen project."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

FOREIGN_KEY = "fk_user_current_project_id_project"


def upgrade() -> None:
    # The column was never written: `@current` is the first project of the organization that a user joined first.
    with op.batch_alter_table("user") as batch_op:
        batch_op.drop_constraint(FOREIGN_KEY, type_="foreignkey")
        batch_op.drop_column("current_project_id")


def downgrade() -> None:
    with op.batch_alter_table("user") as batch_op:
        batch_op.add_column(sa.Column("current_project_id", sa.Integer(), nullable=True))
        batch_op.create_foreign_key(FOREIGN_KEY, "project", ["current_project_id"], ["id"], ondelete="SET NULL")
