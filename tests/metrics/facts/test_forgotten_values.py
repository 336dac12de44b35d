"""Values of properties that breakdowns kept are forgotten: numbers of theirs never come to stand for others."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from app.db.database import Database
from app.metrics.counting.counted import Counted
from app.metrics.counting.incremental import MetricCounter
from app.metrics.counting.service import FactService
from app.metrics.facts.actor_keys import ActorKeyRepository
from app.metrics.facts.matching import Match
from app.metrics.facts.materializer import Materializer
from app.metrics.facts.repository import FactRepository
from app.metrics.facts.series import EventSource, SeriesDefinition
from app.properties.filters import Conjunction
from tests.experiments.scorecard.test_breakdowns import PURCHASES, by_value, shown
from tests.metrics.facts.test_materializer import until_somebody_waits
from tests.support.service import Service

BY_NOTE = SeriesDefinition((EventSource("visit", Conjunction()),), None, actor_property="note", actor_required=True)


async def test_count_of_forgotten_values_is_not_added_to(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values are forgotten while a request counts, which stores its count afterwards."""
    experiment = await service.create_experiment(filters={}, metrics=[PURCHASES])
    path = f"/experiments/{experiment['id']}/analysis/"
    await service.capture(*(shown(f"early {number}", "test", "a") for number in range(3)))
    store = FactService._store

    async def store_too_late(facts: FactService, counted: Mapping[str, Counted[Any]]) -> None:
        if counted:
            await facts.forget_breakdowns()
        await store(facts, counted)

    with monkeypatch.context() as patch:
        patch.setattr(FactService, "_store", store_too_late)
        await service.read(path, breakdown="device")
    await service.capture(*(shown(f"b {number}", "test", "b") for number in range(5)))
    await service.capture(*(shown(f"a {number}", "test", "a") for number in range(4)))

    breakdown = (await service.read(path, breakdown="device", limit="1"))["breakdown"]
    again = (await service.read(path, breakdown="device"))["breakdown"]

    assert by_value(breakdown) == {"a": {"control": (0, 0), "test": (7, 0)}}
    assert by_value(again) == {"a": {"control": (0, 0), "test": (7, 0)}, "b": {"control": (0, 0), "test": (5, 0)}}


async def test_what_has_no_values_is_not_counted_again(
    service: Service, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = await service.create_experiment(filters={}, metrics=[PURCHASES])
    path = f"/experiments/{experiment['id']}/analysis/"
    await service.capture(shown("ann", "test", "a"))
    before = await service.read(path)
    await forget(service, database)
    await service.capture(shown("bob", "test", "a"))

    async def fail(_: object) -> None:
        raise AssertionError("all facts are counted again")

    monkeypatch.setattr(MetricCounter, "recompute", fail)
    after = await service.read(path)

    assert [one["metrics"][0]["exposed"]["test"] for one in (before, after)] == [1, 2]


VISIT = [Match(1, 1, 0, 0.0, "", "secret")]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.own_database
async def test_value_that_is_used_again_meanwhile_is_kept(service: Service, database: Database) -> None:
    number = await retired_value(service, database)
    async with database.write() as session:
        [used] = await ActorKeyRepository(session, service.project_id).resolve_actors(VISIT, "note")
        forgetting = asyncio.create_task(forget(service, database))
        await until_somebody_waits(database)
        async with database.write() as other:
            await FactRepository(other, service.project_id).create([BY_NOTE])
    await forgetting

    assert (used.person_id, await texts(service, database, number)) == (number, {number: "secret"})


async def test_interrupted_removal_of_values_is_taken_up_again(
    service: Service, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = await retired_value(service, database)

    async def end(*_: object) -> bool:
        raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(ActorKeyRepository, "forget_values", end)
        with pytest.raises(InterruptedError):
            await forget(service, database)
    await forget(service, database)

    assert await texts(service, database, number) == {}


async def retired_value(service: Service, database: Database) -> int:
    """Return the number of a value whose series is hidden, and not removed yet."""
    async with database.write() as session:
        await FactRepository(session, service.project_id).create([BY_NOTE])
        [match] = await ActorKeyRepository(session, service.project_id).resolve_actors(VISIT, "note")
    async with database.write() as session:
        await FactRepository(session, service.project_id).retire_breakdowns()
    return match.person_id


async def forget(service: Service, database: Database) -> None:
    await FactService(database, Materializer(database), service.project_id).forget_breakdowns()


async def texts(service: Service, database: Database, number: int) -> Mapping[int, str]:
    async with database.read() as session:
        return await ActorKeyRepository(session, service.project_id).texts([number])
