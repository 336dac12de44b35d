"""The commands ``abacus clickhouse ...``."""

from collections.abc import Awaitable, Callable

import typer
from rich.console import Console
from rich.progress import Progress, TextColumn

from app.accounts.projects.repository import AccountRepository
from app.db import clickhouse_schema
from app.db.clickhouse import ClickHouse
from app.db.database import Database
from app.metrics.facts.moving import FactMove
from app.operations.command import with_database

commands = typer.Typer(help="Keep the facts of metrics in ClickHouse.", no_args_is_help=True)
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


@commands.command("move-out")
def move_out() -> None:
    """Move the facts of all metrics from ClickHouse back to PostgreSQL.

    Stop the service first, and start it without ABACUS_CLICKHOUSE_URL afterwards: facts of new metrics would be made in
    ClickHouse again. It can be interrupted.
    """
    with_database(lambda database: _move(database, FactMove.from_clickhouse))


async def _move(database: Database, move: Callable[[FactMove], Awaitable[int]]) -> None:
    clickhouse = _clickhouse_of(database)
    async with database.read() as session:
        projects = await AccountRepository(session).projects()
    with Progress(*Progress.get_default_columns(), TextColumn("{task.completed:,.0f} facts"), console=console) as bar:
        task = bar.add_task("Moving facts", total=None)
        moved = 0
        for project in projects:
            moved += await move(FactMove(database, clickhouse, project.id, lambda count: bar.advance(task, count)))
        bar.update(task, total=bar.tasks[0].completed)
    console.print(f"{moved} series were moved.", highlight=False)


def _clickhouse_of(database: Database) -> ClickHouse:
    if database.clickhouse is None:
        raise ValueError("set ABACUS_CLICKHOUSE_URL first")
    return database.clickhouse
