"""Persons without a profile, salts of visitors without cookies, unread times, and exposures of two names."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "0018"
down_revision: str | None = "0017"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_CALLED, _EXPOSURE = "$feature_flag_called", "$experiment_exposure"


def upgrade() -> None:
    op.add_column("person", sa.Column("has_profile", sa.Boolean(), server_default=sa.true(), nullable=False))
    op.create_table(
        "cookieless_salt",
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_cookieless_salt")),
    )
    op.create_table(
        "unread_timestamp",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("hour", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_unread_timestamp_project_id_project"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("project_id", "name", "hour", name=op.f("pk_unread_timestamp")),
    )
    _extend_exposures()


def _extend_exposures() -> None:
    """Let the facts of exposures go on under the definition that counts both events.

    They are complete unless a project has events of the second name already: then they are made anew, as long as none
    of the events that they were made of was removed.
    """
    connection = op.get_bind()
    series = connection.execute(
        sa.text(
            "SELECT s.id, s.definition FROM series s JOIN project p ON p.id = s.project_id"
            " WHERE s.definition LIKE '%feature_flag_called%' AND s.digest NOT LIKE 'retired %'"
            " AND (p.events_since > 0 OR NOT EXISTS (SELECT 1 FROM event e WHERE"
            " e.project_id = s.project_id AND e.name = :name AND e.sequence <= s.watermark))"
        ),
        {"name": _EXPOSURE},
    ).all()
    for series_id, definition in series:
        extended = _with_both(json.loads(definition))
        if extended is not None:
            text = json.dumps(extended, sort_keys=True, ensure_ascii=False)
            digest = hashlib.sha256(text.encode()).hexdigest()
            connection.execute(
                sa.text(
                    "UPDATE series SET definition = :text, digest = :digest WHERE id = :id AND length(digest) = 64"
                ),
                {"text": text, "digest": digest, "id": series_id},
            )


def _with_both(definition: dict[str, Any]) -> dict[str, Any] | None:
    """Return the definition of exposures with both events; None where it is of something else."""
    sources = [json.loads(source) for source in definition["sources"]]
    if definition["variant_property"] != "$feature_flag_response" or {name for name, _ in sources} != {_CALLED}:
        return None
    both = {json.dumps([name, condition]) for _, condition in sources for name in (_CALLED, _EXPOSURE)}
    return {**definition, "sources": sorted(both)}


def downgrade() -> None:
    op.drop_table("unread_timestamp")
    op.drop_table("cookieless_salt")
    op.drop_column("person", "has_profile")
