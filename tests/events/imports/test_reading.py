"""A process that reads files for another one: it sends what would be read without it."""

import datetime as dt
import gzip
import json
import subprocess
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app.db.database import Database
from app.db.models import Project
from app.events.imports.batches import Batch
from app.events.imports.files import SourceFile
from app.events.imports.formats import Kind
from app.events.imports.lines import FileRefused, LineReader
from app.events.imports.parcels import pack
from app.events.imports.reading import Reading
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
    reader = LineReader(one.name)
    reader.skip_to(one.position)
    return list(one.batches(iter(reader), lambda: None))


def as_sent(batches: list[Batch]) -> list[bytes]:
    for batch in batches:
        batch.share = None
    return [pack(batch) for batch in batches]


def test_process_reads_the_same_batches(tmp_path: Path) -> None:
    whole = reading(write(tmp_path / "a.ndjson", lines()))
    read = list(whole.batches_of_process())

    assert len(read) > 1
    assert sum(len(one.refused) for one in read) == 4
    assert as_sent(read) == as_sent(read_here(whole))
    rest = reading(tmp_path / "a.ndjson", position=read[0].end)
    assert as_sent(list(rest.batches_of_process())) == as_sent(read_here(rest))
    of_persons = reading(write(tmp_path / "persons.ndjson", persons()), "persons")
    assert as_sent(list(of_persons.batches_of_process())) == as_sent(read_here(of_persons))


def test_process_names_what_it_cannot_read(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.ndjson", lines())
    cut = tmp_path / "cut.ndjson"
    cut.write_bytes(whole.read_bytes()[:-30])

    refusals = []
    for read in (reading(cut).batches_of_process, lambda: read_here(reading(cut))):
        with pytest.raises(FileRefused) as refusal:
            list(read())
        refusals.append(str(refusal.value))
    assert refusals[0] == refusals[1]


async def test_import_whose_reading_process_is_killed_goes_on_when_it_is_run_again(
    service: Service, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    salt = {"salt": "x" * 20_000}  # more together than a pipe holds
    path = write(tmp_path / "a.ndjson", [line(number, "ann", properties=salt) for number in range(1, 201)])
    started: list[subprocess.Popen[bytes]] = []

    class Noted(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self)

    def kill(_file: SourceFile, _share: float | None) -> None:
        started[0].kill()

    async def run(report: Any) -> tuple[list[str], SourceFile]:
        async with database.read() as session:
            project = await session.get_one(Project, service.project_id)
        importing = ImportRun(database, project, ImportOptions(workers=2, batch_events=10), report)
        file = SourceFile(str(path), None)
        await importing.run([file])
        return importing.refusals, file

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", Noted)
        refusals, _ = await run(kill)
    assert len(refusals) == 1
    assert "import it again to go on" in refusals[0]
    stored = (await service.read("/events/", limit=1_000))["results"]
    assert 10 <= len(stored) < 200

    refusals, file = await run(lambda _file, _share: None)
    assert (refusals, file.counts.imported) == ([], 200)
    assert len((await service.read("/events/", limit=1_000))["results"]) == 200
