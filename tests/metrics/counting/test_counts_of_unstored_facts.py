"""Counts of facts in memory are those of stored facts, and are counted once."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.db.database import Database
from app.metrics.counting.service import FactService
from app.metrics.facts import catching_up
from app.metrics.facts.columns import FactColumns
from app.metrics.facts.materializer import Materializer
from tests.conftest import new_service
from tests.metrics.counting.test_incremental import append, create_persons, fact_queries, history, live_through, stored
from tests.support.examples import examples
from tests.support.service import Service


@settings(max_examples=examples(30), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=history, room=st.sampled_from([4, 1_000]), few=st.sampled_from([0, 3]))
async def test_counts_of_facts_in_memory_equal_those_of_stored_facts(
    client: httpx.AsyncClient,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    history: list[Any],
    room: int,
    few: int,
) -> None:
    """Facts are stored after they were counted, while another process makes and stores the same."""
    monkeypatch.setattr(catching_up, "FEW", few)
    project_id = (await new_service(client, database)).project_id
    materializer = Materializer(database, chunk=5, direct_from=1, unstored_facts=room)
    try:
        await live_through(history, fact_queries, project_id, database, materializer)
    finally:
        await materializer.close()


async def test_facts_in_memory_are_counted_once_for_all_who_ask_at_once(
    service: Service, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catching_up, "FEW", 0)
    persons = await create_persons(database, service.project_id)
    visit: dict[str, Any] = {"name": "visit", "person": 1, "hour": 1, "variant": "test"}
    await append(database, service.project_id, [stored(visit, persons[1].id) for _ in range(20)])
    metric, counted = fact_queries(9)[2], list[int]()

    def count(facts: Sequence[FactColumns]) -> Any:
        counted.append(sum(map(len, facts)))
        return metric.count(facts)

    materializer = Materializer(database, chunk=5, direct_from=1, unstored_facts=1_000)
    facts = FactService(database, materializer, service.project_id)
    await asyncio.gather(*(facts.counts([replace(metric, count=count)]) for _ in range(3)))
    await materializer.close()

    assert counted == [20]
