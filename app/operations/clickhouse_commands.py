"""The commands ``abacus clickhouse ...``."""

import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence

import typer
from rich.console import Console
from rich.progress import Progress, TextColumn

from app.accounts.projects.repository import AccountRepository
from app.db import clickhouse_schema
from app.db.clickhouse import ClickHouse
from app.db.database import Database
from app.db.models import Project
from app.events.archive.archiver import EventArchiver
from app.metrics.facts.moving import FactMove
from app.operations.command import with_database

commands = typer.Typer(help="Keep facts of metrics, and events, in ClickHouse.", no_args_is_help=True)
console = Console()


@commands.command("migrate")
def migrate() -> None:
    """Create the tables in ClickHouse that are missing. `abacus migrate` does so, too."""

    async def run(database: Database) -> None:
        _clickhouse_of(database)
        steps = await clickhouse_schema.migrate(database)
        console.print(f"The tables in ClickHouse are up to date: {steps} changes.")

    with_database(run)


@commands.command("backfill")
def backfill() -> None:
    """Move the facts of all metrics from PostgreSQL to ClickHouse, while the service runs. It can be interrupted."""
    with_database(lambda database: _move(database, FactMove.to_clickhouse))


@commands.command("archive")
def archive() -> None:
    """Copy events to ClickHouse now, and remove those from PostgreSQL that are older than its retention.

    The service does so by itself, in the background, and rests while events are captured; this command does not rest.
    It can be interrupted.
    """

    async def run(database: Database) -> None:
        clickhouse = _clickhouse_of(database)
        if clickhouse.event_retention is None:
            raise ValueError("set ABACUS_EVENT_RETENTION_IN_POSTGRESQL first")
        with _progress("Copying events", "events") as report:
            for project in await _projects(database):
                async for _ in EventArchiver(database, clickhouse, project.id, report).steps(
                    clickhouse.event_retention
                ):
                    pass

    with_database(run)


@commands.command("move-out")
def move_out() -> None:
    """Move events, and the facts of all metrics, from ClickHouse back to PostgreSQL.

    Stop the service first, and start it without ABACUS_CLICKHOUSE_URL afterwards: facts of new metrics would be made in
    ClickHouse again. It can be interrupted.
    """

    async def run(database: Database) -> None:
        await _move(database, FactMove.from_clickhouse)
        with _progress("Moving events", "events") as report:
            for project in await _projects(database):
                await EventArchiver(database, _clickhouse_of(database), project.id, report).move_out()

    with_database(run)


async def _move(database: Database, move: Callable[[FactMove], Awaitable[int]]) -> None:
    clickhouse = _clickhouse_of(database)
    moved = 0
    with _progress("Moving facts", "facts") as report:
        for project in await _projects(database):
            moved += await move(FactMove(database, clickhouse, project.id, report))
    console.print(f"{moved} series were moved.", highlight=False)


@contextlib.contextmanager
def _progress(title: str, unit: str) -> Iterator[Callable[[int], None]]:
    """Show how many were moved; yield what is to be called with the number of further ones."""
    count = TextColumn(f"{{task.completed:,.0f}} {unit}")
    with Progress(*Progress.get_default_columns(), count, console=console) as bar:
        task = bar.add_task(title, total=None)
        yield lambda further: bar.advance(task, further)
        bar.update(task, total=bar.tasks[0].completed)


async def _projects(database: Database) -> Sequence[Project]:
    async with database.read() as session:
        return await AccountRepository(session).projects()


def _clickhouse_of(database: Database) -> ClickHouse:
    if database.clickhouse is None:
        raise ValueError("set ABACUS_CLICKHOUSE_URL first")
    return database.clickhouse
