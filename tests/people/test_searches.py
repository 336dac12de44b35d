"""Searches through the rows of a project leave connections to others."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fastapi import FastAPI

from app.db.database import Database
from app.events.history import EventHistory
from app.events.repository import EventSelection
from app.events.service import EventList
from app.people.directory.service import PersonDirectory
from tests.conftest import new_service
from tests.support.service import Service, event


@pytest.mark.one_database
async def test_searches_take_turns(service: Service, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    under_way = most = 0

    def observed(find: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def observe(*arguments: object) -> object:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            try:
                return await find(*arguments)
            finally:
                under_way -= 1

        return observe

    other = await new_service(service.client, database)
    for one in (service, other):
        await one.capture(*(event("view", f"u{number}") for number in range(10)))
    monkeypatch.setattr(EventList, "find", observed(EventList.find))
    monkeypatch.setattr(PersonDirectory, "find", observed(PersonDirectory.find))
    searched = json.dumps([{"key": "plan", "value": "pro"}])
    answers = await asyncio.gather(
        *(one.get(f"/{name}/", properties=searched) for name in ("events", "persons") for one in (service, other) * 4)
    )

    assert [answer.status_code for answer in answers] == [200] * 16
    assert most == 1


@pytest.mark.one_database
@pytest.mark.parametrize("name", ["events", "persons"])
async def test_search_that_waits_too_long_for_its_turn_says_so(
    service: Service, application: FastAPI, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    state = application.state
    monkeypatch.setattr(state, "settings", state.settings.model_copy(update={"results_timeout": 0.05}))
    async with state.database.search_slots.slot("another project"):
        refused = await service.get(f"/{name}/", properties=json.dumps([{"key": "plan", "value": "pro"}]))

    assert refused.status_code == 503
    assert refused.json()["detail"] == "The search was not done in time. Searches take turns: please try again."


@pytest.mark.one_database
async def test_search_reads_the_events_of_a_large_person_together(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    page = EventHistory.page

    async def observed(events: EventHistory, selection: EventSelection, limit: int) -> object:
        reads.append(limit)
        return await page(events, selection, limit)

    large = event("view", "ann", properties={"$set": {"notes": "x" * 500_000}})
    await service.capture(large, *(event("view", "ann") for _ in range(150)))
    monkeypatch.setattr(EventHistory, "page", observed)
    for condition in ({"key": "plan", "value": "pro"}, {"key": "plan", "value": "pro", "type": "person"}):
        reads.clear()
        assert (await service.read("/events/", properties=json.dumps([condition])))["results"] == []
        assert reads == [151]
