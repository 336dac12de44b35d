"""`abacus import`: runs an import, and reports how it goes and what became of every line."""

import csv
import sys
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from app.accounts.projects.repository import OrganizationRepository
from app.db.database import Database
from app.db.models import Project
from app.events.imports.batches import refused_line
from app.events.imports.files import MANIFEST, RefusedLines, SourceFile
from app.events.imports.formats import Format
from app.events.imports.records import LineRefused
from app.events.imports.run import ImportOptions, ImportRun
from app.operations.transfer.experiments import BuildServices, ExperimentImport

_TOTAL: Final = 1_000


_SWITCH_SECONDS: Final = 0.0005


def prefer_the_database() -> None:
    """Let the thread that serves the database's connections wait for the one that reads files a tenth as long.

    Otherwise the database waits up to 5 ms for each of the statements of a batch. A process that serves requests is not
    changed by this.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)


class ImportFormat(StrEnum):
    """Where files come from."""

    auto = "auto"
    posthog = "posthog"
    amplitude = "amplitude"
    mixpanel = "mixpanel"
    segment = "segment"
    abacus = "abacus"

    @property
    def chosen(self) -> Format | None:
        return None if self is ImportFormat.auto else cast("Format", self.value)


class _Rate(ProgressColumn):
    """Lines in a second, on average."""

    def render(self, task: Task) -> Text:
        elapsed = task.finished_time or task.elapsed or 0
        return Text(f"{task.fields['lines'] / elapsed:,.0f} lines/s" if elapsed else "")


async def import_files(
    database: Database,
    project: Project,
    names: Sequence[str],
    options: ImportOptions,
    build: BuildServices,
    errors: Console,
) -> bool:
    """Import files, print the events by name and day, and return whether every line was taken."""
    files = [SourceFile(name, options.format) for name in names if Path(name).name != MANIFEST]
    columns = (TextColumn("{task.description}"), BarColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=errors) as progress:
        bars = {one.name: progress.add_task(one.name, total=_TOTAL, start=False, lines=0) for one in files}

        def report(file: SourceFile, share: float | None) -> None:
            bar = bars[file.name]
            if not progress.tasks[bar].started:
                progress.start_task(bar)
            progress.update(bar, completed=None if share is None else share * _TOTAL, lines=file.counts.lines)

        run = ImportRun(database, project, options, report)
        await run.run([one for one in files if one.recognized.kind in {"events", "persons"}])
        for one in files:
            if one.recognized.kind == "experiments":
                await _import_experiments(database, project, one, options, build)
                report(one, 1.0)
    for one in files:
        errors.print(_outcome(one, options), markup=False, highlight=False, soft_wrap=True)
    for refusal in run.refusals:
        errors.print(refusal, style="red", markup=False, highlight=False, soft_wrap=True)
    _print_events(files)
    return not run.refusals and not any(one.counts.refused for one in files)


async def _import_experiments(
    database: Database, project: Project, file: SourceFile, options: ImportOptions, build: BuildServices
) -> None:
    """Create experiments, each in a transaction of its own, in the name of the oldest member of the organization."""
    async with database.read() as session:
        [member] = await OrganizationRepository(session, 0).members(project.organization_id, 1, 0)
    experiments = ExperimentImport(database, project, member.user, build)
    refused = RefusedLines(file, options.refused_folder)
    if not options.is_dry_run:
        refused.begin()
    for line in file.lines():
        file.counts.lines += 1
        if options.is_dry_run:
            continue
        try:
            is_new = await experiments.create(line.text or b"")
        except LineRefused as refusal:
            file.counts.refused += 1
            refused.add([refused_line(line, str(refusal))])
            continue
        file.counts.imported += is_new
        file.counts.duplicates += not is_new
    file.close()


def _outcome(file: SourceFile, options: ImportOptions) -> str:
    counts = file.counts
    if file.recognized.kind == "results":
        return f"{file.name}: results, which are not imported: they are counted from the events"
    if options.is_dry_run:
        return (
            f"{file.name}: {file.recognized.format} {file.recognized.kind}, {counts.lines:,} lines:"
            f" {counts.skipped:,} to skip, {counts.refused:,} to refuse; nothing was stored"
        )
    where = f" (see {RefusedLines(file, options.refused_folder).path})" if counts.refused else ""
    return (
        f"{file.name}: {file.recognized.format} {file.recognized.kind}, {counts.lines:,} lines:"
        f" {counts.imported:,} imported, {counts.duplicates:,} stored before, {counts.skipped:,} skipped,"
        f" {counts.refused:,} refused{where}"
    )


def _print_events(files: Sequence[SourceFile]) -> None:
    total: Counter[tuple[str, str]] = Counter()
    for one in files:
        total.update(one.counts.events)
    if total:
        table = csv.writer(sys.stdout, lineterminator="\n")
        table.writerow(("event", "day", "events"))
        table.writerows((name, day, count) for (name, day), count in sorted(total.items()))
