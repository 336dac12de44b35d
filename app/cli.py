"""The ``abacus`` command."""

import asyncio
import contextlib
import datetime as dt
import importlib.util
import math
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, TextColumn

from app import VERSION
from app.accounts.projects.repository import AccountRepository
from app.accounts.projects.service import AccountService
from app.common.errors import AppError, NotFound
from app.db import migrations
from app.db.database import Database
from app.db.errors import DATABASE_ERRORS
from app.db.models import Project
from app.events.imports.run import MOST_WORKERS, ImportOptions, usual_workers
from app.experiments.dependencies import build_experiments
from app.metrics.facts.materializer import Materializer
from app.operations import preflight, server
from app.operations.account_commands import add_account_commands
from app.operations.clickhouse_commands import commands as clickhouse_app
from app.operations.command import with_database
from app.operations.demo import run as run_demo
from app.operations.doctor.command import print_findings
from app.operations.maintenance.retention import RetentionService
from app.operations.maintenance.scheduler import MaintenanceScheduler
from app.operations.maintenance.wiring import build_erasure, build_maintenance
from app.operations.mcp import command as mcp_command
from app.operations.transfer.exporting import ExportPart, export_project
from app.operations.transfer.importing import ImportFormat, import_files, prefer_the_database
from app.operations.transfer.wiring import experiment_services, export_of
from app.pages.dependencies import build_pages
from app.pages.rendering import render_experiment
from app.people.directory.service import read_person_reference
from app.settings import Settings

app = typer.Typer(no_args_is_help=True)
project_app = typer.Typer(help="Manage projects.", no_args_is_help=True)
key_app = typer.Typer(help="Manage personal API keys.", no_args_is_help=True)
user_app = typer.Typer(help="Manage users.", no_args_is_help=True)
person_app = typer.Typer(help="Manage persons.", no_args_is_help=True)
app.add_typer(clickhouse_app, name="clickhouse")
app.add_typer(project_app, name="project")
app.add_typer(key_app, name="key")
app.add_typer(user_app, name="user")
app.add_typer(person_app, name="person")

console = Console()
errors = Console(stderr=True)
T = TypeVar("T")
_EXPECTED_ERRORS: tuple[type[Exception], ...] = (
    AppError,
    ValidationError,
    ValueError,
    migrations.SchemaTooNew,
    *DATABASE_ERRORS,
)


def main() -> None:
    """Run the command line; an expected error is reported in one line."""
    try:
        app()
    except _EXPECTED_ERRORS as error:
        settings = None
        with contextlib.suppress(ValueError, OSError):  # which may be the error itself
            settings = Settings.from_environment()
        errors.print(f"[red]abacus:[/red] {escape(preflight.tell_error(error, settings))}", soft_wrap=True)
        sys.exit(1)


def _print_version(is_asked: bool) -> None:  # noqa: FBT001  # the parser calls it so
    if is_asked:
        sys.stdout.write(f"abacus {VERSION}\n")
        raise typer.Exit


@app.callback()
def abacus(
    _version: Annotated[  # noqa: FBT002  # a flag of the command line
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Abacus: an open experimentation service."""


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port to listen on.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, help="Number of worker processes; with SQLite only one.")] = 1,
    root_path: Annotated[str, typer.Option(help="Path prefix behind a proxy, such as /abacus.")] = "",
) -> None:
    """Start the service."""
    if root_path:
        os.environ["ABACUS_ROOT_PATH"] = root_path  # each worker process reads the environment
    settings = Settings.from_environment()
    if settings.uses_sqlite and workers > 1:
        raise ValueError("SQLite supports one worker: use --workers 1, or PostgreSQL (ABACUS_DATABASE_URL)")
    preflight.check_address(host, port)
    preflight.check_database_file(settings)
    if settings.uses_sqlite:
        migrations.upgrade(settings)
    elif reason := preflight.find_why_unreachable(settings):
        warning = f"{reason}. The service starts all the same, and is ready once the database answers."
        errors.print(f"[yellow]abacus:[/yellow] {escape(warning)}", soft_wrap=True)
    server.serve(settings, host=host, port=port, workers=workers)


@app.command()
def migrate() -> None:
    """Migrate the database schema to the newest revision. Safe to run concurrently."""
    migrations.upgrade(Settings.from_environment())
    console.print("The database schema is up to date.")


@app.command()
def doctor(
    url: Annotated[str | None, typer.Option(help="The address that clients use; ABACUS_PUBLIC_URL by default.")] = None,
) -> None:
    """Check database, schema, storage, clock and proxy of this deployment. Exits with 1 when a check fails."""
    settings = Settings.from_environment()
    address = url or (str(settings.public_url) if settings.public_url else None)

    sys.exit(1 if asyncio.run(print_findings(settings, address, console)) else 0)


@app.command()
def prune(
    before: Annotated[
        dt.datetime,
        typer.Option(
            parser=preflight.read_time,
            metavar="DATE",
            help="Remove events before this time (UTC): 2026-01-31, or with a time.",
        ),
    ],
    project_id: Annotated[int | None, typer.Option("--project", help="Only in the project with this id.")] = None,
    is_dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count the events.")] = False,  # noqa: FBT002  # a flag of the command line
) -> None:
    """Remove old events. The results of existing experiments do not change."""
    if before > dt.datetime.now(dt.UTC):
        raise ValueError(f"{before:%Y-%m-%d} is in the future: every event would be removed")

    async def remove(database: Database) -> None:
        materializer = Materializer(database)
        for project in await _find_projects(database, project_id):
            retention = RetentionService(database, lambda of: build_maintenance(database, materializer, of), project)
            removal = await (retention.preview(before) if is_dry_run else retention.prune(before))
            outcome = "would be removed" if is_dry_run else "removed"
            console.print(
                f"Project {project.id} ({escape(project.name)}): {removal:,} events {outcome}", highlight=False
            )

    with_database(remove)


@person_app.command("delete")
def delete_person(
    project_id: Annotated[int, typer.Option("--project", help="The id of the project.")],
    persons: Annotated[
        list[str] | None, typer.Option("--person", help="The id or UUID of a person. Repeatable.")
    ] = None,
    distinct_ids: Annotated[
        list[str] | None, typer.Option("--distinct-id", help="A distinct id of a person. Repeatable.")
    ] = None,
    deletes_events: Annotated[bool, typer.Option("--delete-events", help="Remove their events, too.")] = False,  # noqa: FBT002  # a flag of the command line
) -> None:
    """Erase persons. The results of existing experiments do not change."""
    references = [reference for one in persons or () if (reference := read_person_reference(one)) is not None]
    if len(references) < len(persons or ()) or not (references or distinct_ids):
        raise ValueError("name persons by --person (an id or a UUID) or by --distinct-id")

    async def erase(database: Database) -> None:
        [project] = await _find_projects(database, project_id)
        erasure = build_erasure(database, Materializer(database), project)
        erased = await erasure.erase_all(
            references, None, distinct_ids=distinct_ids or (), removes_events=deletes_events
        )
        if deletes_events:
            await erasure.remove_events(math.inf)
        console.print(f"Erased {erased} {'person' if erased == 1 else 'persons'}.", highlight=False)

    with_database(erase)


@app.command()
def refresh(project: Annotated[int, typer.Option(help="The id of the project.")]) -> None:
    """Refresh the stored metric counts of a project's running experiments.

    The service does so in the background. Use this after a large import, so that the first reader does not wait.
    """

    async def count(database: Database) -> None:
        [found] = await _find_projects(database, project)
        with Progress(console=console) as progress:
            bar = progress.add_task("Processing events", total=None)
            materializer = Materializer(
                database, report=lambda reached, last: progress.update(bar, completed=reached, total=last)
            )
            scheduler = MaintenanceScheduler(
                database, lambda of: build_maintenance(database, materializer, of), interval=0
            )
            await scheduler.refresh_counts(found)
            progress.update(bar, completed=1, total=1)

    with_database(count)


@app.command("import")
def import_history(
    files: Annotated[list[str], typer.Argument(help="Files, plain or as gz, zst or zip; - is the standard input.")],
    project_id: Annotated[int, typer.Option("--project", help="The id of the project.")],
    source: Annotated[
        ImportFormat, typer.Option("--format", help="Where the files come from; told from their first lines if auto.")
    ] = ImportFormat.auto,
    is_dry_run: Annotated[bool, typer.Option("--dry-run", help="Only read the files.")] = False,  # noqa: FBT002  # a flag of the command line
    refused: Annotated[
        Path | None,
        typer.Option(help="The folder for FILE.refused.ndjson, the refused lines; by default that of each file."),
    ] = None,
    time_offset: Annotated[
        int, typer.Option(help="Seconds to add to times of Mixpanel, for projects whose times are not UTC.")
    ] = 0,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST_WORKERS,
            help="Processes: of 2, one reads a file while the other stores what is read. By default 2 where there are"
            " three processors. The process that stores always reads the standard input.",
        ),
    ] = None,
) -> None:
    """Import events and persons from other systems, and print how many events there are by name and day.

    An interrupted import goes on where it was when it is run again, and nothing is stored twice. Exits with 1 when a
    line is refused.
    """
    options = ImportOptions(source.chosen, time_offset, is_dry_run, refused, workers=workers or usual_workers())

    async def run(database: Database) -> bool:
        prefer_the_database()
        [project] = await _find_projects(database, project_id)
        return await import_files(database, project, files, options, experiment_services, errors)

    if not with_database(run):
        sys.exit(1)


@app.command("export")
def export_history(
    folder: Annotated[Path, typer.Argument(help="The folder to write to, one file for each part.")],
    project_id: Annotated[int, typer.Option("--project", help="The id of the project.")],
    parts: Annotated[
        list[ExportPart] | None, typer.Option("--only", help="Only this part. Repeatable; all parts by default.")
    ] = None,
    parquet: Annotated[bool, typer.Option("--parquet", help="Write events and persons as Parquet.")] = False,  # noqa: FBT002  # a flag of the command line
) -> None:
    """Export events, persons, experiments and results as compressed lines of JSON, which `abacus import` reads.

    Before the experiments come the actions, cohorts, saved metrics and holdouts that they may refer to.
    """
    if parquet and importlib.util.find_spec("pyarrow") is None:
        errors.print("Parquet needs a library: pip install 'abacus\\[parquet]'", style="red")
        sys.exit(1)
    folder.mkdir(parents=True, exist_ok=True)

    async def run(database: Database) -> None:
        [project] = await _find_projects(database, project_id)
        with Progress(
            TextColumn("{task.description}"), TextColumn("{task.completed:,.0f} lines"), console=errors
        ) as bar:
            tasks = {part: bar.add_task(part, total=None) for part in parts or ExportPart}

            def report(part: str, lines: int) -> None:
                bar.update(tasks[ExportPart(part)], completed=lines)

            export = export_of(database, project)
            await export_project(export, folder, [part.value for part in tasks], report, is_parquet=parquet)

    with_database(run)


@app.command("mcp")
def serve_mcp() -> None:
    """Serve the tools of assistants over the standard streams (Model Context Protocol), for a running service.

    ABACUS_URL is its address, ABACUS_API_KEY a personal API key, ABACUS_PROJECT the id of the project (by default the
    key's current one). Needs `pip install abacus[mcp]`.
    """
    mcp_command.serve(os.environ)


app.command("materialise", hidden=True)(refresh)  # the former name


@app.command()
def demo(
    stay: Annotated[bool, typer.Option("--serve", help="Keep the service running afterwards.")] = False,  # noqa: FBT002  # a flag of the command line
) -> None:
    """Replay the published counts of a real experiment through the API and print its results."""
    sys.exit(run_demo(console, stay=stay))


@app.command()
def report(
    experiment: Annotated[int, typer.Argument(help="The id of the experiment.")],
    project: Annotated[int, typer.Option(help="The id of the project.")],
    output: Annotated[Path | None, typer.Option(help="Write to this file instead of the standard output.")] = None,
) -> None:
    """Export the results page of an experiment as one self-contained HTML file."""
    html = with_database(lambda database: _render_report(database, str(experiment), project))
    if output is None:
        sys.stdout.write(html)
        return
    output.write_text(html, encoding="utf-8")
    console.print(f"Report written to {output}.")


async def _render_report(database: Database, experiment_id: str, project_id: int) -> str:
    try:
        async with database.read() as session:
            project = await AccountService(session).find_project(project_id)
            experiment = await build_experiments(session, project_id).get(experiment_id)
    except NotFound as error:
        raise NotFound(f"There is no experiment {experiment_id} in project {project_id}.") from error
    page = await build_pages(database, Materializer(database), project).page(experiment)
    return await render_experiment(page, link=None)


def _with_accounts(work: Callable[[AccountService], Awaitable[T]]) -> T:
    """Run work on accounts in one transaction, on a migrated database."""

    async def in_one_transaction(database: Database) -> T:
        async with database.write() as session:
            return await work(AccountService(session))

    return with_database(in_one_transaction)


add_account_commands(project_app, key_app, user_app, _with_accounts)


async def _find_projects(database: Database, project_id: int | None) -> Sequence[Project]:
    """Return one project, or all."""
    async with database.read() as session:
        projects = await AccountRepository(session).projects()
    found = [project for project in projects if project_id in {None, project.id}]
    if not found and project_id is not None:
        raise ValueError(f"there is no project {project_id}")
    return found


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main()
