"""A process that reads files for another one: it sends what would be read without it."""

import asyncio
import datetime as dt
import gzip
import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from app.db.database import Database
from app.db.models import Project
from app.events.imports.batches import Batch
from app.events.imports.files import SourceFile
from app.events.imports.formats import Kind
from app.events.imports.lines import FileRefused
from app.events.imports.parcels import pack
from app.events.imports.reading import Reading, ReadingProcess
from app.events.imports.run import ImportOptions, ImportRun
from tests.support.service import Service, event


def line(number: int, distinct_id: str, **members: Any) -> dict[str, Any]:
    return {**event("purchase", distinct_id), "uuid": str(UUID(int=number | 7 << 76 | 2 << 126)), **members}


def lines() -> list[object]:
    """Return lines that are stored, that change persons, that are skipped and that are refused."""
    origin = {"$current_url": "https://example.com/", "$browser_version": 10**30, "utm_source": "a"}
    changing: list[dict[str, object]] = [
        {"properties": {"$set": {"plan": "pro", "tags": ["a", {"b": 1}]}, "$set_once": {"first": 1}, **origin}},
        {"properties": {"$unset": ["plan"], "size": 2}, "person_id": "p1"},
        {"event": "$identify", "properties": {"$anon_distinct_id": "device"}},
        {"properties": {"$process_person_profile": False}, "created_at": "2025-01-09 10:30:00"},
        {"distinct_id": "$posthog_cookieless", "properties": {"$cookieless_mode": True}},
        {"distinct_id": "ünïcode \U0001f600", "uuid": None},
    ]
    known = [{**line(number, f"person-{number % 3}"), **members} for number, members in enumerate(changing, 1)]
    return [
        *known,
        b"no JSON",
        line(50, "ann", timestamp="yesterday"),
        b"\xff\xfe",
        line(51, ""),
        line(52, "a", event=""),
    ]


def persons() -> list[object]:
    one = {"person_id": "p1", "properties": {"plan": "pro"}, "created_at": "2025-01-09 10:30:00"}
    return [{**one, "distinct_id": f"d{number}", "person_version": number, "is_deleted": False} for number in range(5)]


def write(path: Path, content: list[object]) -> Path:
    text = b"".join((one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in content)
    path.write_bytes(gzip.compress(text))
    return path


def reading(path: Path, kind: Kind = "events", position: int = 0) -> Reading:
    return Reading(str(path), position, "posthog", kind, dt.datetime.now(dt.UTC), 0, 0, 4)


def read_here(one: Reading) -> list[Batch]:
    return list(one.batches_of_file())


def as_sent(batches: list[Batch]) -> list[bytes]:
    for batch in batches:
        batch.share = None
    return [pack(batch) for batch in batches]


def test_process_reads_the_same_batches(tmp_path: Path) -> None:
    whole = reading(write(tmp_path / "a.ndjson", lines()))
    read = list(ReadingProcess(whole).batches())

    assert len(read) > 1
    assert sum(len(one.refused) for one in read) == 5
    assert as_sent(read) == as_sent(read_here(whole))
    rest = reading(tmp_path / "a.ndjson", position=read[0].end)
    assert as_sent(list(ReadingProcess(rest).batches())) == as_sent(read_here(rest))
    of_persons = reading(write(tmp_path / "persons.ndjson", persons()), "persons")
    assert as_sent(list(ReadingProcess(of_persons).batches())) == as_sent(read_here(of_persons))


def test_what_has_no_room_for_a_process_is_read_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = reading(write(tmp_path / "a.ndjson", lines()))

    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)

    assert as_sent(list(ReadingProcess(whole).batches())) == as_sent(read_here(whole))


def test_process_names_what_it_cannot_read(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.ndjson", lines())
    cut = tmp_path / "cut.ndjson"
    cut.write_bytes(whole.read_bytes()[:-30])

    refusals = []
    for read in (ReadingProcess(reading(cut)).batches, lambda: read_here(reading(cut))):
        with pytest.raises(FileRefused) as refusal:
            list(read())
        refusals.append(str(refusal.value))
    assert refusals[0] == refusals[1]


class Started(list[subprocess.Popen[bytes]]):
    """The processes that were started, and whether there is one; ``kills_new`` ones end as they begin."""

    def __init__(self) -> None:
        super().__init__()
        self.is_one = threading.Event()
        self.kills_new = False


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    noted = Started()

    class Noted(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            noted.append(self)
            noted.is_one.set()
            if noted.kills_new:
                self.kill()

    monkeypatch.setattr(subprocess, "Popen", Noted)
    return noted


@pytest.fixture
async def project(service: Service, database: Database) -> Project:
    async with database.read() as session:
        return await session.get_one(Project, service.project_id)


def report_nothing(_file: SourceFile, _share: float | None) -> None: ...


def more_than_the_pipe_holds() -> list[object]:
    return [line(number, "ann", properties={"salt": "x" * 20_000}) for number in range(1, 201)]


async def test_import_whose_reading_process_is_killed_goes_on_with_another_one(
    service: Service, project: Project, database: Database, tmp_path: Path, started: Started
) -> None:
    file = SourceFile(str(write(tmp_path / "a.ndjson", more_than_the_pipe_holds())), None)
    importing = ImportRun(
        database, project, ImportOptions(workers=2, batch_events=10), lambda _file, _share: started[0].kill()
    )

    await importing.run([file])

    assert (len(started), importing.refusals) == (2, [])
    assert (file.counts.lines, file.counts.imported) == (200, 200)
    assert len((await service.read("/events/", limit=1_000))["results"]) == 200


async def test_import_whose_reading_process_is_killed_each_time_goes_on_when_it_is_run_again(
    service: Service, project: Project, database: Database, tmp_path: Path, started: Started
) -> None:
    """It says so, and does not start processes for ever where each one is too much for the host."""
    path = write(tmp_path / "a.ndjson", more_than_the_pipe_holds())

    async def run(report: Any) -> tuple[list[str], SourceFile]:
        importing = ImportRun(database, project, ImportOptions(workers=2, batch_events=10), report)
        file = SourceFile(str(path), None)
        await importing.run([file])
        return importing.refusals, file

    def kill_all(_file: SourceFile, _share: float | None) -> None:
        started.kills_new = True
        for process in started:
            process.kill()

    refusals, _ = await run(kill_all)
    [refusal] = refusals
    assert "import it again to go on" in refusal
    assert len(started) == 2
    stored = (await service.read("/events/", limit=1_000))["results"]
    assert 10 <= len(stored) < 200

    started.kills_new = False
    refusals, file = await run(report_nothing)
    assert (refusals, file.counts.imported) == ([], 200)
    assert len((await service.read("/events/", limit=1_000))["results"]) == 200


@pytest.mark.one_database
async def test_import_that_is_cancelled_ends_the_process_that_reads(
    project: Project, database: Database, tmp_path: Path, started: Started
) -> None:
    """Its next batch would never come: it was stopped."""
    file = SourceFile(str(write(tmp_path / "a.ndjson", [line(1, "ann")])), None)
    importing = ImportRun(database, project, ImportOptions(is_dry_run=True, workers=2), report_nothing)
    running = asyncio.create_task(importing.run([file]))
    await asyncio.to_thread(started.is_one.wait)
    started[0].send_signal(signal.SIGSTOP)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 30)
    assert started[0].returncode == -signal.SIGKILL


def test_signals_to_all_processes_of_a_service_do_not_end_the_one_that_reads(tmp_path: Path, started: Started) -> None:
    """The service would take its file for damaged, and forget it, while it stops in good order."""
    path = write(tmp_path / "a.ndjson", [line(number, "ann") for number in range(1, 21)])
    batches = ReadingProcess(reading(path)).batches()
    first = next(batches)
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        started[0].send_signal(signum)

    assert sum(len(one.events) for one in [first, *batches]) == 20


def test_process_that_reads_ends_with_the_one_that_stores(tmp_path: Path) -> None:
    """Also between two batches, where it could not know by itself: here because nobody takes the first."""
    path = write(
        tmp_path / "a.ndjson", [line(number, "ann", properties={"salt": "x" * 100_000}) for number in range(9)]
    )
    command = [sys.executable, "-m", "app.events.imports.reading"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(reading(path)) + b"\n")
        process.stdin.close()

        assert process.wait(60) == 1
