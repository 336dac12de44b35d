"""Events are in one of both stores, and are counted and listed once, whatever fails in between."""

import datetime as dt
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from sqlalchemy import func, select, update

from app.common.errors import Unavailable
from app.common.timestamps import to_microseconds
from app.db.clickhouse import ClickHouse, ClickHouseUnavailable
from app.db.database import Database
from app.db.models import Event, EventArchive, Project, utc_now
from app.events.archive.archiver import EventArchiver
from app.events.archive.store import ArchivedEvents
from app.events.history import EventHistory
from app.events.repository import EventQueries, StoredEvent
from app.metrics.counting.service import FactService
from app.metrics.facts.materializer import Materializer
from app.operations.maintenance.erasure import ErasureService
from app.operations.maintenance.retention import RetentionService
from app.operations.maintenance.wiring import build_maintenance
from tests.events.imports.test_importing import Importer, line, write
from tests.metrics.counting.test_incremental import shown
from tests.metrics.facts.test_clickhouse import funnel, without_clickhouse
from tests.support.service import Service, event
from tests.support.striking import Striking

pytestmark = [
    pytest.mark.clickhouse("always"),
    pytest.mark.parametrize("database_url", ["clickhouse"], indirect=True),
]

AT = "2022-11-01T05:00:00Z"
NOW = dt.timedelta(0)  # events leave PostgreSQL as soon as they are in ClickHouse
HOSTILE = r"""it's "quoted\' {braces} ☃"""


@pytest.fixture
def there(database: Database) -> ClickHouse:
    assert database.clickhouse is not None
    return database.clickhouse


def visits(count: int, person: str = "ann", name: str = "visit") -> list[dict[str, Any]]:
    properties = {"$feature/checkout": "test", "text": HOSTILE}
    return [event(name, f"{person} {number}", timestamp=AT, properties=properties) for number in range(count)]


async def archive(database: Database, there: ClickHouse, project_id: int, **options: Any) -> None:
    async for _ in EventArchiver(database, there, project_id, **options).steps(NOW):
        pass


async def kept_here(database: Database, project_id: int) -> int:
    async with database.read() as session:
        return await session.scalar(select(func.count()).where(Event.project_id == project_id)) or 0


async def all_events(database: Database, project_id: int) -> list[StoredEvent]:
    found: list[StoredEvent] = []
    until = await EventQueries(database, project_id).high_water_mark()
    history = EventHistory(database, project_id)
    while page := await history.stored_after(found[-1].sequence if found else 0, until, 7):
        found += page
    return found


async def send(there: ClickHouse, project_id: int, events: list[StoredEvent]) -> None:
    """Send events as an attempt does that was interrupted."""
    lines = [
        "\t".join(
            str(value).translate({ord("\\"): "\\\\", ord("\t"): "\\t", ord("\n"): "\\n"})
            for value in (one.sequence, project_id, *one[1:])
        )
        for one in events
    ]
    await ArchivedEvents(there, project_id).insert("".join(f"{line}\n" for line in lines).encode())


async def listed(service: Service) -> list[dict[str, Any]]:
    """All events as the API lists them, page by page."""
    found: list[dict[str, Any]] = []
    path: str | None = f"/api/projects/{service.project_id}/events/?limit=4"
    while path:
        response = await service.client.get(path, headers={"Authorization": f"Bearer {service.key}"})
        assert response.status_code == 200, response.text
        page = response.json()
        found += page["results"]
        path = page["next"]
    return found


async def test_events_are_listed_exported_and_counted_from_both(
    service: Service, database: Database, there: ClickHouse
) -> None:
    await service.capture(*visits(9), event(HOSTILE, "bob", timestamp=AT, properties={"text": HOSTILE}))
    before, stored = await listed(service), await all_events(database, service.project_id)

    await archive(database, there, service.project_id, batch=4)
    assert await kept_here(database, service.project_id) <= 1  # the last one of all projects stays
    assert await listed(service) == before
    assert await all_events(database, service.project_id) == stored
    [named] = (await service.read(f"/events/?{urlencode({'event': HOSTILE})}"))["results"]
    assert named["properties"]["text"] == HOSTILE

    await service.capture(*visits(3, "cleo"), event("buy", "ann 1", timestamp="2022-11-01T06:00:00Z"))
    facts = FactService(database, Materializer(database, chunk=4), service.project_id)
    [counts] = await facts.counts([funnel()])  # of a metric that is new
    assert counts.reached.sum(axis=0).tolist() == [12, 1]
    assert len(await listed(service)) == 14


async def test_names_that_are_only_there_are_counted(service: Service, database: Database, there: ClickHouse) -> None:
    """A count that was up to date is not taken for current when later events have left PostgreSQL since."""
    await service.capture(*visits(5))
    facts = FactService(database, Materializer(database), service.project_id)
    await facts.counts([funnel()])
    await service.capture(*visits(2, "bob"), *visits(1, name="other"))
    await archive(database, there, service.project_id)

    [counts] = await facts.counts([funnel()])

    assert int(counts.reached[:, 0].sum()) == 7


async def test_launch_checks_and_suggestions_know_events_that_are_only_there(
    service: Service, database: Database, there: ClickHouse
) -> None:
    draft = await service.create_experiment(feature_flag_key="seen", start_date=None, end_date=None)
    now = utc_now().isoformat()
    called = {"$feature_flag": "seen", "$feature_flag_response": "test"}
    await service.capture(
        event("$feature_flag_called", "ann", timestamp=now, properties=called),
        event(HOSTILE, "bob", timestamp=now, properties={"$feature/seen": "test"}),
        *visits(2),
    )
    await archive(database, there, service.project_id)
    assert await kept_here(database, service.project_id) <= 1

    checks = {one["code"]: one["state"] for one in (await launch_checks(service, draft["id"]))}
    assert (checks["flag_in_code"], checks["exposure_event"]) == ("done", "done")
    for name, is_missing in ((HOSTILE, False), ("visit", True)):
        query = {"events": json.dumps([{"id": name}]), "insight": "TRENDS"}
        asked = await service.read("/experiments/requires_flag_implementation/", **query)
        assert asked == {"result": is_missing}
    names = [one["name"] for one in (await service.read("/event_definitions/"))["results"]]
    assert {HOSTILE, "visit", "$feature_flag_called"} <= set(names)


async def test_event_that_never_came_is_missed_though_others_have_left(
    service: Service, database: Database, there: ClickHouse
) -> None:
    draft = await service.create_experiment(feature_flag_key="unseen", start_date=None, end_date=None)
    await service.capture(*visits(3))
    await archive(database, there, service.project_id)

    checks = {one["code"]: one["state"] for one in (await launch_checks(service, draft["id"]))}

    assert (checks["flag_in_code"], checks["exposure_event"]) == ("missing", "missing")


async def launch_checks(service: Service, experiment_id: int) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = (await service.read(f"/experiments/{experiment_id}/launch_checklist/"))["items"]
    return listed


@pytest.mark.everything
@pytest.mark.parametrize("is_done_first", [False, True])
async def test_whatever_statement_fails_every_event_is_archived_once(
    service: Service, database: Database, there: ClickHouse, monkeypatch: pytest.MonkeyPatch, is_done_first: bool
) -> None:
    striking = Striking(there, monkeypatch, is_done_first=is_done_first, database=database)
    failures = place = sent = 0
    while failures == place:
        await service.capture(*visits(5, str(place)))
        sent += 5
        with striking.at(place):
            try:
                await archive(database, there, service.project_id, batch=3)
            except ConnectionError:
                failures += 1
        stored = await all_events(database, service.project_id)
        assert len(stored) == len({one.sequence for one in stored}) == sent
        place += 1
    assert failures > 15
    await archive(database, there, service.project_id)
    facts = FactService(database, Materializer(database, chunk=50), service.project_id)
    [counts] = await facts.counts([funnel()])
    [recounted] = await facts.counts([funnel()], recompute=True)
    assert shown(counts) == shown(recounted)
    assert int(counts.reached[:, 0].sum()) == sent
    assert await kept_here(database, service.project_id) <= 1


async def test_events_that_clickhouse_has_lost_stay_here(
    service: Service, database: Database, there: ClickHouse
) -> None:
    """After a restore of an old backup, say."""
    await service.capture(*visits(6))
    async for _ in EventArchiver(database, there, service.project_id).steps(dt.timedelta(days=1)):
        pass
    await there.remove("event", f"project = {service.project_id}")

    with pytest.raises(ClickHouseUnavailable, match="they stay in PostgreSQL"):
        await archive(database, there, service.project_id)

    assert await kept_here(database, service.project_id) == 6


async def test_events_of_a_time_before_postgresql_was_restored_are_not_taken_for_later_ones(
    service: Service, database: Database, there: ClickHouse
) -> None:
    await service.capture(*visits(6))
    stored = await all_events(database, service.project_id)
    await send(there, service.project_id, [one._replace(name="lost") for one in stored])

    await archive(database, there, service.project_id)

    assert await all_events(database, service.project_id) == stored


async def test_erased_persons_and_pruned_events_leave_both(
    service: Service, database: Database, there: ClickHouse
) -> None:
    await service.capture(*visits(4), *visits(3, "bob", name="early"))
    await archive(database, there, service.project_id)
    async with database.read() as session:
        project = await session.get_one(Project, service.project_id)
    maintenance = build_maintenance(database, Materializer(database), project)
    erasure = ErasureService(database, maintenance, project)
    await erasure.erase_all([], None, distinct_ids=["ann 1"], removes_events=True)
    left = [one.distinct_id for one in await all_events(database, service.project_id)]
    assert (len(left), "ann 1" in left) == (6, False)

    retention = RetentionService(database, lambda _: maintenance, project)
    before = utc_now()
    counted = await retention.preview(before)
    assert counted == await retention.prune(before) >= 5
    assert len(await all_events(database, service.project_id)) == 6 - counted


async def test_events_still_leave_postgresql_after_a_removal_that_spared_the_last_one(
    service: Service, database: Database, there: ClickHouse
) -> None:
    await service.capture(*visits(6))
    async for _ in EventArchiver(database, there, service.project_id).steps(dt.timedelta(days=1)):
        pass  # copied, and kept
    async with database.read() as session:
        project = await session.get_one(Project, service.project_id)
    maintenance = build_maintenance(database, Materializer(database), project)
    assert await RetentionService(database, lambda _: maintenance, project).prune(utc_now()) == 5

    await archive(database, there, service.project_id)

    assert [one.distinct_id for one in await all_events(database, service.project_id)] == ["ann 5"]


async def test_erasure_waits_for_what_an_interrupted_attempt_has_sent(
    service: Service, database: Database, there: ClickHouse
) -> None:
    await service.capture(*visits(4))
    theirs = next(one for one in await all_events(database, service.project_id) if one.distinct_id == "ann 1")
    await archive(database, there, service.project_id)
    async with database.write() as session:
        await session.execute(
            update(EventArchive)
            .where(EventArchive.project_id == service.project_id)
            .values(interrupted_at=to_microseconds(utc_now()))
        )
    async with database.read() as session:
        project = await session.get_one(Project, service.project_id)
    erasure = ErasureService(database, build_maintenance(database, Materializer(database), project), project)
    await erasure.erase_all([], None, distinct_ids=["ann 1"], removes_events=True)
    await send(there, service.project_id, [theirs])
    async with database.write() as session:
        await session.execute(
            update(EventArchive).where(EventArchive.project_id == service.project_id).values(interrupted_at=0)
        )

    assert [step async for step in erasure.steps()] != []
    assert theirs not in await all_events(database, service.project_id)
    assert [step async for step in erasure.steps()] == []


async def test_events_that_have_left_are_not_imported_again(
    service: Service, database: Database, there: ClickHouse, tmp_path: Path
) -> None:
    importer = Importer(database, service.project_id)
    some = [line(number, f"it's {number} \\", timestamp=AT) for number in range(1, 8)]
    await importer(write(tmp_path / "first.ndjson", some))
    await archive(database, there, service.project_id)
    new = [line(1, "of another person", timestamp=AT), line(9, "later", timestamp="2022-12-01T05:00:00Z")]

    found, _ = await importer(write(tmp_path / "again.ndjson", [*some, *new]))

    assert found == [{"imported": 2, "duplicates": 7, "refused": 0}]
    assert len(await all_events(database, service.project_id)) == 9


async def test_events_move_back(service: Service, database: Database, there: ClickHouse) -> None:
    await service.capture(*visits(9))
    stored = await all_events(database, service.project_id)
    await archive(database, there, service.project_id)
    with without_clickhouse(database), pytest.raises(Unavailable, match="are in ClickHouse"):
        await all_events(database, service.project_id)

    archiver = EventArchiver(database, there, service.project_id, batch=2)
    assert await archiver.move_out() >= 8

    assert await kept_here(database, service.project_id) == 9
    with without_clickhouse(database):
        assert await all_events(database, service.project_id) == stored
    assert await there.execute(f"SELECT count() FROM {there.table('event')} WHERE project = {service.project_id}") == 0
