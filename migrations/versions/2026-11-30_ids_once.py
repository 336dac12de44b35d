"""Never use an id twice on SQLite, as on PostgreSQL: a new experiment had the id, and the history, of a deleted one."""

from collections.abc import Sequence

from alembic import op

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# The other tables with generated ids have been so from the beginning.
TABLES = (
    "organization",
    "project",
    "user",
    "organization_membership",
    "personal_api_key",
    "action",
    "cohort",
    "feature_flag",
    "experiment",
    "snapshot",
    "group_type",
    "group",
    "actor_key",
    "series",
    "count",
)
# Where ids of rows remain that are deleted already.
REMAINING = {
    "experiment": "SELECT max(item_id) FROM activity_entry WHERE scope = 'Experiment'",
    "feature_flag": "SELECT max(item_id) FROM activity_entry WHERE scope = 'FeatureFlag'",
    "series": "SELECT max(series_id) FROM fact",
}


def upgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        return
    for table in TABLES:
        # A copy of the table. Foreign keys are off meanwhile, or dropping the old one would delete what refers to it.
        with op.batch_alter_table(table, recreate="always", table_kwargs={"sqlite_autoincrement": True}):
            pass
    for table, ids in REMAINING.items():
        is_known = f"SELECT 1 FROM sqlite_sequence WHERE name = '{table}'"  # noqa: S608  # our own names
        op.execute(f"INSERT INTO sqlite_sequence (name, seq) SELECT '{table}', 0 WHERE NOT EXISTS ({is_known})")
        op.execute(f"UPDATE sqlite_sequence SET seq = max(seq, coalesce(({ids}), 0)) WHERE name = '{table}'")  # noqa: S608  # our own names


def downgrade() -> None:
    """Leave the tables as they are: earlier versions work with them too."""
