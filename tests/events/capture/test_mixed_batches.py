"""Batches with events of persons that stay as they are, which are stored first, and of persons that they change."""

import asyncio
import dataclasses
from typing import Any

import pytest
from sqlalchemy import text

from app.common import limits
from app.db.advisory_locks import ProjectLock, lock_project
from app.db.database import Database
from tests.support.service import Service, event

KNOWN = [f"known {number}" for number in range(5)]
NEW = [f"new {number}" for number in range(3)]
WHEN = "2024-05-01T10:00:00Z"


def batch() -> list[dict[str, Any]]:
    """Return 300 events at one moment, of five persons and of three who are new."""
    persons = [*KNOWN, *NEW]
    return [event(f"event {n:03}", persons[n % len(persons)], timestamp=WHEN, uuid=uuid(n)) for n in range(300)]


def uuid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


async def names(service: Service, **query: object) -> list[str]:
    """Return the names of stored events in the order in which they happened."""
    page = await service.read("/events/", limit=1000, **query)
    return [one["event"] for one in reversed(page["results"])]


@pytest.fixture(autouse=True)
async def known(service: Service) -> None:
    await service.capture(*(event("visit", name, timestamp="2024-01-01T00:00:00Z") for name in KNOWN))


async def test_events_of_each_person_keep_their_order_and_are_stored_once(service: Service) -> None:
    for _ in range(2):
        await service.capture(*batch())

    assert len(await names(service)) == 300 + len(KNOWN)
    for person in ("known 2", "new 1"):
        sent = [one["event"] for one in batch() if one["distinct_id"] == person]
        assert [name for name in await names(service, distinct_id=person) if name != "visit"] == sent


async def test_batch_that_is_refused_for_the_persons_it_changes_leaves_no_event(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.capture(*(event("visit", f"{n}", properties={"$set": {"text": "x" * 20_000}}) for n in range(40)))
    changing = [event("signed up", f"{n}", properties={"$set": {"plan": "paid"}}) for n in range(40)]
    limit = dataclasses.replace(limits.CHANGED_PERSON_BYTES, value=500_000)
    monkeypatch.setattr("app.people.persons.service.CHANGED_PERSON_BYTES", limit)

    response = await service.send([*batch(), *changing])

    assert (response.status_code, response.json()["code"]) == (413, "request_too_large")
    assert set(await names(service)) == {"visit"}


@pytest.mark.parametrize("size", [1, 300])
async def test_request_that_waits_for_persons_has_announced_its_events(
    service: Service, database: Database, size: int
) -> None:
    """In another order it would wait for a reader of positions, which waits for others that wait for its persons."""
    if database.is_sqlite:
        pytest.skip("SQLite has one writer")
    granted = text(
        "SELECT other.objid FROM pg_locks AS waiting JOIN pg_locks AS other USING (pid)"
        " WHERE waiting.classid = :identities AND waiting.objid = :project AND NOT waiting.granted"
        " AND other.classid = :append AND other.granted"
    )
    locks = {"identities": ProjectLock.IDENTITIES, "append": ProjectLock.EVENT_APPEND, "project": service.project_id}
    async with database.write() as session:
        await lock_project(session, ProjectLock.IDENTITIES, service.project_id)
        waiting = asyncio.create_task(service.capture(*[event("a", "somebody new"), *batch()][:size]))
        found: list[int] = []
        while not found:  # the test's time limit bounds it
            found = list((await session.scalars(granted, locks)).all())
        assert found == [service.project_id]
    await waiting


async def test_person_gets_the_origin_that_only_another_one_has(service: Service) -> None:
    """Persons are compared with what all events of a batch say together first."""
    linux, firefox = {"$os": "Linux"}, {"$browser": "Firefox"}
    for one, other in ((linux, firefox), (linux, firefox), (firefox, firefox)):
        await service.capture(event("visit", "ann", properties=one), event("visit", "bob", properties=other))

    found = {one["distinct_ids"][0]: one["properties"] for one in (await service.read("/persons/"))["results"]}
    assert {name for name in found["ann"] if name.startswith("$initial")} == {"$initial_os", "$initial_browser"}
    assert {name for name in found["bob"] if name.startswith("$initial")} == {"$initial_browser"}
