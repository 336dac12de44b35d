"""The last verdict on each experiment, and answers that a repeated request gets again."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "product"
down_revision: str | None = "0028"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "experiment_verdict",
        sa.Column("experiment_id", sa.Integer(), nullable=False),
        sa.Column("document", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["experiment_id"],
            ["experiment.id"],
            name=op.f("fk_experiment_verdict_experiment_id_experiment"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("experiment_id", name=op.f("pk_experiment_verdict")),
    )


def downgrade() -> None:
    op.drop_table("experiment_verdict")
