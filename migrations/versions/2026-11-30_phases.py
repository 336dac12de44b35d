"""What experiments plan to happen by itself, what has, and how their flags are held."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0021"
down_revision: str | None = "0020"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_DOCUMENTS = ("scheduling_config", "circuit_breakers", "exposure_freeze", "baseline_hold", "automatic_actions")


def upgrade() -> None:
    # Not in a batch: on SQLite it copies the table, and dropping the old one would delete all rows that refer to it.
    for name in _DOCUMENTS:
        op.add_column("experiment", sa.Column(name, sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    for name in reversed(_DOCUMENTS):
        op.drop_column("experiment", name)
