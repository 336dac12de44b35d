"""An import leaves the persons that capture would leave, although it does not read most of them."""

import datetime as dt
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.accounts.projects.repository import IngestionProject
from app.db.database import Database
from app.events.imports.reading import Reading
from app.events.imports.service import EventImport
from tests.conftest import new_service
from tests.events.imports.test_importing import Importer, line, write
from tests.support.service import Service, event

pytestmark = pytest.mark.one_database

Json = Any
AT = "2022-11-01T05:00:00Z"
IDS = ("ann", "bob", "laptop", "phone", "tablet")


@pytest.fixture
async def other(client: httpx.AsyncClient, database: Database) -> Service:
    return await new_service(client, database)


def draw_line(draw: random.Random, number: int) -> Json:
    distinct_id = draw.choice(IDS)
    told: Json = {}
    if draw.random() < 0.4:
        told["$set"] = {draw.choice("abc"): draw.randrange(2)}
    if draw.random() < 0.3:
        told["$set_once"] = {draw.choice("cd"): draw.randrange(3)}
    if draw.random() < 0.1:
        told["$unset"] = [draw.choice("abcd")]
    if draw.random() < 0.3:
        told |= {"$browser": draw.choice(["Firefox", "Chrome"]), "utm_source": draw.choice(["mail", None])}
    if draw.random() < 0.1:
        told["$process_person_profile"] = False
    one = line(number, distinct_id, properties=told)
    if draw.random() < 0.06:
        one |= {"event": "$identify", "properties": {**told, "$anon_distinct_id": draw.choice(IDS)}}
    return one


async def people(service: Service) -> list[Json]:
    found: list[Json] = (await service.read("/persons/", limit=100))["results"]
    return found


async def persons(service: Service) -> list[Json]:
    found = await people(service)
    hidden = {"$creator_event_uuid"}
    return sorted(
        (sorted(one["distinct_ids"]), {k: v for k, v in one["properties"].items() if k not in hidden}) for one in found
    )


async def test_an_import_leaves_the_persons_that_capture_would(
    database: Database, service: Service, other: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.events.imports.batches.BATCH_EVENTS", 5)
    draw = random.Random(11)
    lines = [draw_line(draw, number) for number in range(300)]

    await Importer(database, service.project_id)(write(tmp_path / "a.ndjson", lines))
    for start in range(0, len(lines), 5):
        await other.capture(*lines[start : start + 5])

    assert await persons(service) == await persons(other)


async def act(service: Service, draw: random.Random) -> None:
    """Do to a person what users and other clients do while an import is under way."""
    one, other, action = draw.choice(IDS), draw.choice(IDS), draw.choice(["split", "erase", "merge", "merge", "set"])
    found = (await service.read("/persons/", distinct_id=one))["results"]
    if not found:
        return
    path = f"/persons/{found[0]['id']}/"
    if action == "split":
        response = await service.post(f"{path}split/", {"main_distinct_id": one})
    elif action == "erase":
        response = await service.delete(path)
    elif action == "set":
        response = await service.post(f"{path}update_property/", {"key": draw.choice("abcd"), "value": 7})
    else:
        response = await service.send([event("$merge_dangerously", one, properties={"alias": other}, timestamp=AT)])
    assert response.status_code < 300, response.text


async def persons_of_events(service: Service, lines: Sequence[Json]) -> Mapping[str, list[str]]:
    """The distinct ids of the current person of each event; none where it was erased."""
    ids = {one["uuid"]: sorted(one["distinct_ids"]) for one in await people(service)}
    listed = (await service.read("/events/", limit=1_000))["results"]
    sent = {one["uuid"] for one in lines}
    return {one["id"]: ids[one["person"]["uuid"]] if one["person"] else [] for one in listed if one["id"] in sent}


async def import_in_batches(
    database: Database, service: Service, path: Path, size: int, before_each: Callable[[int], Awaitable[None]]
) -> None:
    now = dt.datetime.now(dt.UTC)
    reading = Reading(str(path), 0, "posthog", "events", now, time_offset=0, events_since=0, most=size)
    importing = EventImport(database, IngestionProject(service.project_id, anonymize_ips=False))

    async def finish(_session: object, _stored: int) -> None:
        pass

    for number, batch in enumerate(reading.batches_of_file()):
        await before_each(number)
        await importing.store(await importing.resolve(batch.events), finish)


async def test_an_import_follows_what_happens_to_persons_meanwhile(
    database: Database, service: Service, other: Service, tmp_path: Path
) -> None:
    draw = random.Random(5)
    # Most say nothing of the person: which one it is need not be read then.
    lines = [
        draw_line(draw, number) if draw.random() < 0.2 else line(number, draw.choice(IDS)) for number in range(150)
    ]

    async def capture_before(number: int) -> None:
        if number:
            await other.capture(*lines[3 * number - 3 : 3 * number])
        for one in (service, other):
            await act(one, random.Random(number))

    await import_in_batches(database, service, write(tmp_path / "a.ndjson", lines), 3, capture_before)
    await other.capture(*lines[-3:])

    assert await persons(service) == await persons(other)
    assert await persons_of_events(service, lines) == await persons_of_events(other, lines)


async def test_what_was_said_of_a_person_who_was_merged_meanwhile_is_said_again(
    database: Database, service: Service, tmp_path: Path
) -> None:
    plans = [("laptop", "pro"), ("phone", "basic"), ("phone", "basic")]
    lines = [line(number, name, properties={"$set": {"plan": plan}}) for number, (name, plan) in enumerate(plans)]

    async def merge(number: int) -> None:
        if number == 2:
            await service.capture(event("$merge_dangerously", "laptop", properties={"alias": "phone"}, timestamp=AT))

    await import_in_batches(database, service, write(tmp_path / "a.ndjson", lines), 1, merge)

    [(_, properties)] = await persons(service)
    assert properties["plan"] == "basic"
