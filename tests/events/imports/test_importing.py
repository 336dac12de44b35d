"""Imports into a project: what is stored, once, whatever happens on the way."""

import gzip
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app.db.database import Database
from app.db.models import Project
from app.events.imports import run as runs
from app.events.imports.files import SourceFile
from app.events.imports.run import ImportOptions, ImportRun
from app.events.imports.service import EventImport, ResolvedBatch
from tests.support.service import Service, event

pytestmark = pytest.mark.one_database

Json = Any


def line(number: int, distinct_id: str, **members: Any) -> dict[str, Any]:
    uuid = str(UUID(int=number | 7 << 76 | 2 << 126))
    return {**event("purchase", distinct_id), "uuid": uuid, **members}


def write(path: Path, lines: Sequence[object]) -> Path:
    text = b"".join((one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in lines)
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


class Importer:
    def __init__(self, database: Database, project_id: int) -> None:
        self.database = database
        self.project_id = project_id

    async def __call__(self, *paths: Path, **options: Any) -> tuple[list[dict[str, int]], list[str]]:
        """Import files; return what became of their lines, and which files were refused."""
        async with self.database.read() as session:
            project = await session.get_one(Project, self.project_id)
        run = ImportRun(self.database, project, ImportOptions(**options), lambda _file, _share: None)
        files = [SourceFile(str(path), None) for path in paths]
        await run.run(files)
        names = ("imported", "duplicates", "refused")
        return [{name: getattr(one.counts, name) for name in names} for one in files], run.refusals


@pytest.fixture
def importer(database: Database, service: Service) -> Importer:
    return Importer(database, service.project_id)


async def stored(service: Service) -> dict[str, Json]:
    return {one["id"]: one for one in (await service.read("/events/", limit=1_000))["results"]}


async def persons(service: Service) -> list[set[str]]:
    found = (await service.read("/persons/", limit=1_000))["results"]
    return sorted((set(one["distinct_ids"]) for one in found), key=min)


async def test_an_import_twice_and_overlapping_stores_once(
    importer: Importer, service: Service, tmp_path: Path
) -> None:
    some = [line(number, f"person-{number}") for number in range(1, 8)]
    first, again = write(tmp_path / "a.ndjson", some[:5]), write(tmp_path / "b.ndjson.gz", some[3:])

    assert await importer(first) == ([{"imported": 5, "duplicates": 0, "refused": 0}], [])
    assert (await importer(first))[0] == [{"imported": 5, "duplicates": 0, "refused": 0}]  # as it was: nothing is read
    assert (await importer(again))[0] == [{"imported": 2, "duplicates": 2, "refused": 0}]
    assert set(await stored(service)) == {one["uuid"] for one in some}


async def test_what_capture_has_stored_is_not_stored_again(
    importer: Importer, service: Service, tmp_path: Path
) -> None:
    await service.capture(line(1, "ann"))

    counts, _ = await importer(write(tmp_path / "a.ndjson", [line(1, "ann"), line(2, "ann")]))

    assert counts == [{"imported": 1, "duplicates": 1, "refused": 0}]


async def test_times_of_the_source_are_kept_and_the_origin_is_marked(
    importer: Importer, service: Service, tmp_path: Path
) -> None:
    await importer(write(tmp_path / "a.ndjson", [line(1, "ann", timestamp="2099-01-01T00:00:00.25Z")]))

    [one] = (await stored(service)).values()
    assert one["timestamp"] == "2099-01-01T00:00:00.250000Z"
    assert one["properties"]["historical_migration"] is True


async def test_distinct_ids_of_one_person_of_the_source_come_together(
    importer: Importer, service: Service, tmp_path: Path
) -> None:
    await service.capture(event("before", "laptop"), event("before", "phone"))
    lines = [line(1, "laptop", person_id="p1"), line(2, "bob", person_id="p2"), line(3, "phone", person_id="p1")]

    await importer(write(tmp_path / "a.ndjson", lines))
    await importer(write(tmp_path / "b.ndjson", [line(4, "tablet", person_id="p1")]))

    assert await persons(service) == [{"bob"}, {"laptop", "phone", "tablet"}]


async def test_persons_of_a_file_are_merged_before_events_and_keep_their_latest_properties(
    importer: Importer, service: Service, tmp_path: Path
) -> None:
    def person(distinct_id: str, person_id: str, plan: str, **members: object) -> Mapping[str, object]:
        versions = {"person_distinct_id_version": 0, "person_version": 1, "is_deleted": False}
        shown = {"properties": {"plan": plan}, "created_at": "2022-10-01 00:00:00"}
        return {"distinct_id": distinct_id, "person_id": person_id, **shown, **versions, **members}

    lines = [
        person("laptop", "p1", "pro", person_version=3),
        person("phone", "p0", "free"),
        person("phone", "p1", "free", person_distinct_id_version=1, person_version=2),
        person("gone", "p9", "free", is_deleted=True),
    ]
    old = line(1, "phone", properties={"$set": {"plan": "basic", "size": 3}})
    events = write(tmp_path / "events.ndjson", [old, line(2, "laptop")])

    counts, _ = await importer(events, write(tmp_path / "persons.ndjson", lines))

    assert counts[1] == {"imported": 4, "duplicates": 0, "refused": 0}
    [one] = (await service.read("/persons/"))["results"]
    assert set(one["distinct_ids"]) == {"laptop", "phone"}
    assert (one["properties"]["plan"], one["properties"]["size"]) == ("pro", 3)
    assert one["created_at"].startswith("2022-10-01")


async def test_devices_are_joined_with_users_but_not_users_with_each_other(
    importer: Importer, service: Service, tmp_path: Path
) -> None:
    def amplitude(number: int, user: str | None, device: str) -> Mapping[str, object]:
        shown = {"event_type": "open", "event_time": "2025-01-09 10:30:00.000000", "device_id": device}
        return {**shown, "user_id": user, "uuid": str(UUID(int=number | 7 << 76 | 2 << 126))}

    lines = [amplitude(1, None, "device"), amplitude(2, "ann", "device"), amplitude(3, "bob", "device")]

    await importer(write(tmp_path / "a.ndjson", lines))

    assert await persons(service) == [{"ann", "device"}, {"bob"}]


async def test_refused_lines_are_kept_with_reasons_and_the_others_imported(
    importer: Importer, service: Service, tmp_path: Path
) -> None:
    wrong = [b"no JSON", line(2, "ann", timestamp="yesterday"), b"\xff\xfe", line(4, "")]
    path = write(tmp_path / "a.ndjson", [line(1, "ann"), *wrong])

    counts, _ = await importer(path)

    assert counts == [{"imported": 1, "duplicates": 0, "refused": 4}]
    refused = [json.loads(one) for one in (tmp_path / "a.ndjson.refused.ndjson").read_text().splitlines()]
    assert [one["line"] for one in refused] == [2, 3, 4, 5]
    assert all(one["reason"] for one in refused)


async def test_a_dry_run_stores_nothing(importer: Importer, service: Service, tmp_path: Path) -> None:
    await importer(write(tmp_path / "a.ndjson", [line(1, "ann"), b"no JSON"]), is_dry_run=True)

    assert await stored(service) == {}
    assert os.listdir(tmp_path) == ["a.ndjson"]


class PowerFailure(Exception):
    pass


async def test_an_interrupted_import_goes_on_at_the_batch_that_was_not_stored(
    importer: Importer, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.events.imports.batches.BATCH_EVENTS", 3)
    lines: list[object] = [line(number, f"person-{number % 4}", person_id=f"p{number % 2}") for number in range(10)]
    lines.insert(1, b"no JSON")
    lines.insert(9, b"neither")
    path = write(tmp_path / "a.ndjson.gz", lines)
    store = EventImport.store
    batches: list[ResolvedBatch] = []

    async def stop_at_third(self: EventImport, batch: ResolvedBatch, finish: Any) -> Any:
        batches.append(batch)
        if len(batches) == 3:
            raise PowerFailure
        return await store(self, batch, finish)

    monkeypatch.setattr(EventImport, "store", stop_at_third)
    with pytest.raises(PowerFailure):
        await importer(path)
    monkeypatch.setattr(EventImport, "store", store)
    assert len(await stored(service)) == 6

    assert (await importer(path))[0] == [{"imported": 10, "duplicates": 0, "refused": 2}]
    assert len(await stored(service)) == 10
    refused = [json.loads(one) for one in (tmp_path / "a.ndjson.gz.refused.ndjson").read_text().splitlines()]
    assert [one["line"] for one in refused] == [2, 10]
    assert await persons(service) == [{"person-0", "person-2"}, {"person-1", "person-3"}]


async def test_a_file_that_is_cut_off_is_named_and_its_whole_batches_are_kept(
    importer: Importer, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.events.imports.batches.BATCH_EVENTS", 500)
    whole = write(
        tmp_path / "a.gz", [line(number, f"person-{number}", salt=f"{number**9:x}") for number in range(1_200)]
    )
    cut = tmp_path / "cut.gz"
    cut.write_bytes(whole.read_bytes()[:-1_000])

    counts, refusals = await importer(cut)

    assert counts[0]["imported"] in {500, 1_000}
    assert len(refusals) == 1
    assert "damaged or incomplete" in refusals[0]
    assert (await importer(whole))[0][0] == {
        "imported": 1_200 - counts[0]["imported"],
        "duplicates": counts[0]["imported"],
        "refused": 0,
    }


async def test_a_file_of_something_else_stops_early(
    importer: Importer, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_MOST_REFUSED", 3)

    _, refusals = await importer(write(tmp_path / "a.ndjson", [line(1, "ann"), *[b"{}"] * 5]))

    assert len(refusals) == 1
    assert "more than 3 lines were refused" in refusals[0]


async def test_erasing_a_person_forgets_what_imports_know(importer: Importer, service: Service, tmp_path: Path) -> None:
    await importer(write(tmp_path / "a.ndjson", [line(1, "ann", person_id="p1")]))
    [person] = (await service.read("/persons/"))["results"]
    assert (await service.delete(f"/persons/{person['id']}/")).status_code == 204

    await importer(write(tmp_path / "b.ndjson", [line(2, "new", person_id="p1")]))

    assert await persons(service) == [{"new"}]
