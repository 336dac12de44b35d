"""Bring the database schema up (or down) to a revision."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from app.settings import Settings

_SCRIPTS = Path(__file__).resolve().parent.parent / "migrations"


def configuration(settings: Settings) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.set_main_option("path_separator", "os")
    config.attributes["settings"] = settings
    return config


def revisions(settings: Settings) -> tuple[str | None, frozenset[str]]:
    """Return the newest revision that this program knows, and all of them."""
    scripts = ScriptDirectory.from_config(configuration(settings))
    return scripts.get_current_head(), frozenset(script.revision for script in scripts.walk_revisions())


def upgrade(settings: Settings, revision: str = "head") -> None:
    """Run the missing migrations. Starts an event loop of its own: call it from a thread that has none."""
    command.upgrade(configuration(settings), revision)


def downgrade(settings: Settings, revision: str) -> None:
    """Undo migrations down to ``revision`` (``base`` removes every table)."""
    command.downgrade(configuration(settings), revision)


def check(settings: Settings) -> None:
    """Raise ``alembic.util.CommandError`` when the models and the migrated schema differ."""
    command.check(configuration(settings))
