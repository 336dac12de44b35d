"""An import leaves the persons that capture would leave, although it does not read most of them."""

import random
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.db.database import Database
from tests.conftest import new_service
from tests.events.imports.test_importing import Importer, line, write
from tests.support.service import Service

pytestmark = pytest.mark.one_database

Json = Any
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


async def persons(service: Service) -> list[Json]:
    found = (await service.read("/persons/", limit=100))["results"]
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
