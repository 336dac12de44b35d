"""An index that covers what facts of events take from the table, where no property is read."""

from collections.abc import Sequence

from alembic import op

revision: str = "0022"
down_revision: str | None = "0021"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

FORMER = "ix_event_project_id_name_sequence"
COVERING = "ix_event_project_id_name_sequence_person_id_time"


def upgrade() -> None:
    op.create_index(COVERING, "event", ["project_id", "name", "sequence", "person_id", "time"])
    op.drop_index(FORMER, "event")


def downgrade() -> None:
    op.create_index(FORMER, "event", ["project_id", "name", "sequence"])
    op.drop_index(COVERING, "event")
