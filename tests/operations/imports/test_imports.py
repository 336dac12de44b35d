"""Imports of uploaded files: taken as they come, shown while they run, resumed, cancelled, and never stored twice."""

import asyncio
import dataclasses
import gzip
import json
import os
import re
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.common import limits
from app.db.database import Database
from app.db.models import FileImport
from app.events.imports.run import ImportRun
from app.events.imports.service import EventImport
from app.operations.imports.runner import ImportRunner
from app.operations.imports.uploads import Uploads
from app.settings import Settings
from tests.conftest import new_service
from tests.events.imports.test_importing import line
from tests.pages.conftest import Page, Visitor
from tests.support.service import Service

Json = Any
PATH = "/imports/"


@pytest.fixture
async def runner(application: FastAPI, tmp_path: Path) -> AsyncIterator[ImportRunner]:
    runner = ImportRunner(application.state.database, Uploads(tmp_path / "uploads"))
    application.state.imports = runner
    yield runner
    await runner.close()


@pytest.fixture
async def visitor(service: Service) -> Visitor:
    visitor = Visitor(service.client, service.project_id)
    assert (await visitor.sign_in(service.key)).status_code == 303
    return visitor


def ndjson(*lines: object) -> bytes:
    return b"".join((one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in lines)


async def upload(service: Service, content: bytes, **parameters: object) -> httpx.Response:
    return await service.request("POST", PATH, content=content, params=parameters)


def left(runner: ImportRunner) -> list[str]:
    directory = runner.uploads.directory
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


@pytest.mark.one_database
async def test_an_upload_is_imported_and_shown(service: Service, runner: ImportRunner) -> None:
    times = ("2022-11-02T10:00:00Z", "2022-11-03T10:00:00Z")
    lines = [line(number, f"person-{number}", timestamp=time) for number, time in enumerate(times)]
    content = gzip.compress(ndjson(*lines, lines[0], b"no JSON"))

    response = await upload(service, content, name="events.gz")
    await runner.wait()

    assert (response.status_code, response.json()["status"]) == (201, "running")
    one = await service.read(f"{PATH}{response.json()['id']}/")
    [file] = one["files"]
    counts = {name: file[name] for name in ("name", "bytes", "lines", "imported", "duplicates", "refused")}
    assert counts == {
        "name": "events.gz",
        "bytes": len(content),
        "lines": 4,
        "imported": 2,
        "duplicates": 1,
        "refused": 1,
    }
    assert (one["status"], one["eta"]) == ("completed", None)
    assert (one["first_timestamp"], one["last_timestamp"]) == times
    assert one["events"][1] == {"event": "purchase", "day": "2022-11-03", "events": 1}
    [refused] = (await service.get(f"{PATH}{one['id']}/refused/")).text.splitlines()
    assert json.loads(refused)["line"] == 4
    assert len((await service.read("/events/"))["results"]) == 2
    assert (await service.read(PATH))["count"] == 1
    assert left(runner) == [name for name in left(runner) if name.endswith(".refused.ndjson")]


@pytest.mark.one_database
async def test_an_import_that_a_restart_interrupted_goes_on(
    service: Service, runner: ImportRunner, application: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as stopped:
        stopped.setattr(ImportRunner, "start", lambda *_: None)
        first = (await upload(service, ndjson(line(1, "ann")))).json()
        second = await upload(service, ndjson(line(2, "bob")))
    assert (second.status_code, second.json()["code"]) == (400, "import_under_way")

    restarted = ImportRunner(application.state.database, runner.uploads)
    restarted.start(service.project_id, first["id"])  # as ``resume`` does with those of all projects
    runner.start(service.project_id, first["id"])  # another process finds it, too
    await restarted.wait()
    await runner.wait()

    one = await service.read(f"{PATH}{first['id']}/")
    assert (one["status"], one["files"][0]["imported"]) == ("completed", 1)
    assert left(runner) == []


@pytest.mark.one_database
@pytest.mark.parametrize(("length", "expected"), [(1, [1, 1, 1]), (65_536, [2, 1, 1])])
async def test_large_imports_beside_each_other_have_one_process_at_most_and_small_ones_none(
    service: Service,
    runner: ImportRunner,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    length: int,
    expected: list[int],
) -> None:
    begun = asyncio.Queue[int]()
    may_end = asyncio.Event()

    async def run(importing: ImportRun, _files: object) -> None:
        begun.put_nowait(importing.options.workers)
        await may_end.wait()

    monkeypatch.setattr(ImportRun, "run", run)
    workers = []
    for one in (service, *[await new_service(service.client, database) for _ in range(2)]):
        assert (await upload(one, ndjson(line(1, "a" * length)))).status_code == 201
        workers.append(await begun.get())
    may_end.set()
    await runner.wait()

    assert workers == expected


@pytest.mark.one_database
async def test_imports_take_turns_and_leave_connections_to_requests(
    service: Service, runner: ImportRunner, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way = set[object]()
    most = 0
    store = EventImport.store

    async def observed(importing: EventImport, *arguments: Any) -> object:
        nonlocal most
        under_way.add(importing)
        most = max(most, len(under_way))
        try:
            return await store(importing, *arguments)
        finally:
            under_way.discard(importing)

    monkeypatch.setattr(EventImport, "store", observed)
    services = [service, *[await new_service(service.client, database) for _ in range(4)]]
    for one in services:
        assert (await upload(one, ndjson(*(line(number, "ann") for number in range(1_000))))).status_code == 201
    await runner.wait()

    assert most <= limits.IMPORTED_BATCHES.value
    for one in services:
        assert (await one.read(PATH))["results"][0]["files"][0]["imported"] == 1_000


async def test_a_cancelled_import_ends_and_is_forgotten_when_it_is_deleted_again(
    service: Service, runner: ImportRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImportRunner, "start", lambda *_: None)
    one = (await upload(service, ndjson(line(1, "ann")))).json()

    assert (await service.delete(f"{PATH}{one['id']}/")).status_code == 204
    assert (await service.read(f"{PATH}{one['id']}/"))["status"] == "cancelled"
    assert left(runner) == []
    assert (await service.delete(f"{PATH}{one['id']}/")).status_code == 204
    assert (await service.get(f"{PATH}{one['id']}/")).status_code == 404


@pytest.mark.one_database
async def test_a_file_that_is_not_taken_leaves_nothing_behind(
    service: Service, runner: ImportRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = ndjson(line(1, "ann"))
    monkeypatch.setattr(
        limits, "UPLOADED_FILE_BYTES", dataclasses.replace(limits.UPLOADED_FILE_BYTES, value=len(content) - 1)
    )
    too_large = await upload(service, content)
    other = await upload(service, b"neither\n", name="notes.txt")
    experiments = await upload(service, ndjson({"abacus": "experiment"}))

    assert (too_large.status_code, too_large.json()["code"]) == (413, "request_too_large")
    assert (other.status_code, other.json()["code"]) == (400, "unreadable_file")
    assert other.json()["detail"].startswith("notes.txt: line 1: ")
    assert experiments.status_code == 400
    assert left(runner) == []


def lower(monkeypatch: pytest.MonkeyPatch, name: str, value: int) -> None:
    monkeypatch.setattr(limits, name, dataclasses.replace(getattr(limits, name), value=value))


@pytest.mark.one_database
async def test_refused_lines_are_kept_up_to_a_size(
    service: Service, runner: ImportRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    lower(monkeypatch, "REFUSED_LINES_BYTES", 2_500)
    one = (await upload(service, gzip.compress(ndjson(line(1, "ann"), *[b"x" * 5_000] * 50)))).json()
    await runner.wait()

    refused = (await service.get(f"{PATH}{one['id']}/refused/")).text.splitlines()
    assert [json.loads(line)["line"] for line in refused] == [2, 3]
    assert (await service.read(f"{PATH}{one['id']}/"))["files"][0]["refused"] == 50


@pytest.mark.one_database
async def test_a_project_remembers_a_number_of_imports(
    service: Service, runner: ImportRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    lower(monkeypatch, "FILE_IMPORTS", 2)
    made = []
    for number in range(3):
        made.append((await upload(service, ndjson(line(number, "ann"), b"no JSON"))).json()["id"])
        await runner.wait()

    found = await service.read(PATH)
    assert ([one["id"] for one in found["results"]], found["count"]) == ([made[2], made[1]], 2)
    assert len(left(runner)) == 2


@pytest.mark.one_database
async def test_uploads_leave_a_part_of_the_disk_free(
    service: Service, runner: ImportRunner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lower(monkeypatch, "FREE_DISK_BYTES", shutil.disk_usage(tmp_path).total)
    response = await upload(service, ndjson(line(1, "ann")))

    assert (response.status_code, response.json()["code"]) == (503, "service_unavailable")
    assert response.json()["detail"] == limits.FREE_DISK_BYTES.detail
    assert left(runner) == []


@pytest.mark.one_database
async def test_what_is_left_of_an_upload_of_a_killed_process_is_removed(runner: ImportRunner) -> None:
    runner.uploads.directory.mkdir()
    for name, age in (("old.part", 7_200), ("new.part", 60), ("of-an-import", 7_200)):
        path = runner.uploads.path(name)
        path.write_bytes(b"{")
        os.utime(path, (time.time() - age, time.time() - age))

    await runner.resume()

    assert left(runner) == ["new.part", "of-an-import"]


@pytest.mark.one_database
async def test_a_database_that_is_not_ready_is_one_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = Database(Settings(database_url=f"sqlite:///{tmp_path}/not-migrated.db"))
    looking = asyncio.create_task(ImportRunner(database, Uploads(tmp_path / "uploads")).run())
    try:
        async with asyncio.timeout(60):
            while not caplog.records:  # noqa: ASYNC110  # the log has no event to wait for
                await asyncio.sleep(0.005)
    finally:
        looking.cancel()
        await database.close()
    assert [(record.levelname, record.exc_info) for record in caplog.records] == [("WARNING", None)]
    assert "looking for imports waits for the database: OperationalError: no such table" in caplog.text


async def test_a_list_of_imports_is_bounded_in_bytes(
    service: Service, runner: ImportRunner, database: Database
) -> None:
    events = [{"event": "x" * 400, "day": "2022-11-02", "events": 1}] * 2_000
    async with database.write() as session:
        for _ in range(6):
            session.add(
                FileImport(
                    project_id=service.project_id,
                    name="a",
                    stored_as="",
                    source="auto",
                    status="completed",
                    progress=json.dumps({"events": events}),
                )
            )

    page = await service.read(PATH)

    assert (len(page["results"]), page["count"], page["next"] is not None) == (4, 6, True)
    [newest, *_] = page["results"]
    assert len((await service.read(f"{PATH}{newest['id']}/"))["events"]) == 2_000


@pytest.mark.one_database
async def test_the_page_takes_a_file_and_shows_what_became_of_it(
    service: Service, runner: ImportRunner, visitor: Visitor
) -> None:
    path = visitor.path() + "imports/"
    files = {"file": ("<b>events</b>.ndjson", ndjson(line(1, "ann"), line(2, "bob")))}

    response = await visitor.browser.post(path + "upload/", files=files)
    await runner.wait()

    assert (response.status_code, response.headers["location"]) == (303, path)
    page = Page(await visitor.browser.get(path))
    assert "<b>events</b>.ndjson completed 2 imported, 0 stored before" in page.text
    [forget] = re.findall(r'action="([^"]*/cancel/)"', page.response.text)
    assert (await visitor.browser.post(forget)).status_code == 303
    assert "No imports yet" in Page(await visitor.browser.get(path)).text
    foreign = await visitor.browser.post(path + "upload/", files=files, headers={"origin": "https://evil.example"})
    assert foreign.status_code == 403
    assert (await visitor.browser.post(path + "upload/", data={"file": "text"})).status_code == 415


@pytest.mark.one_database
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"--b\r\n\r\n",
        b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--",
        b"--b\r\nContent-Disposition: form-data\r\n\r\n" + b"x" * 1_000_000,
    ],
)
async def test_a_form_without_a_file_is_refused(
    service: Service, runner: ImportRunner, visitor: Visitor, content: bytes
) -> None:
    headers = {"content-type": "multipart/form-data; boundary=b"}

    response = await visitor.browser.post(visitor.path() + "imports/upload/", content=content, headers=headers)

    assert response.status_code == 400
    assert left(runner) == []
