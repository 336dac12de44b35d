"""What a project's events are called, which properties they have, and which facts insights asked for."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0024"
down_revision: str | None = "0023"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def _of_project(table: str, *columns: sa.Column[object], key: Sequence[str]) -> None:
    op.create_table(
        table,
        sa.Column("project_id", sa.Integer(), nullable=False),
        *columns,
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f(f"fk_{table}_project_id_project"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("project_id", *key, name=op.f(f"pk_{table}")),
    )


def upgrade() -> None:
    _of_project("definition_progress", sa.Column("watermark", sa.BigInteger(), nullable=False), key=[])
    _of_project(
        "event_definition",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        key=["name"],
    )
    op.create_index("ix_event_definition_project_id_id", "event_definition", ["project_id", "id"])
    _of_project(
        "event_volume",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        key=["name", "day"],
    )
    _of_project(
        "property_definition",
        sa.Column("subject", sa.String(length=10), nullable=False),
        sa.Column("name", sa.String(length=400), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("property_type", sa.String(length=10), nullable=True),
        key=["subject", "name"],
    )
    op.create_index("ix_property_definition_project_id_id", "property_definition", ["project_id", "id"])
    _of_project(
        "event_property",
        sa.Column("event", sa.String(length=200), nullable=False),
        sa.Column("property", sa.String(length=400), nullable=False),
        key=["event", "property"],
    )
    op.add_column("series", sa.Column("asked_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("series", "asked_at")
    for table in ("event_property", "property_definition", "event_volume", "event_definition", "definition_progress"):
        op.drop_table(table)
