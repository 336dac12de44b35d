"""Many people who open one page at once cost one computation, and hold the loop for no longer than one of them."""

import asyncio
import gc

import pytest

from app.db.models import Experiment
from app.experiments.counting.service import CountedExperiment, ExperimentCounter
from tests.pages.conftest import Visitor, clear_win
from tests.support.inputs.model import BAR_MS
from tests.support.loop_monitor import monitor
from tests.support.service import Service

pytestmark = pytest.mark.one_database

READERS = 20


async def test_readers_of_a_page_share_its_figures_and_take_turns(
    service: Service, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = await clear_win(service)
    count, counted = ExperimentCounter.count, 0

    async def count_once(counter: ExperimentCounter, one: Experiment) -> CountedExperiment:
        nonlocal counted
        counted += 1
        return await count(counter, one)

    monkeypatch.setattr(ExperimentCounter, "count", count_once)
    await visitor.look(experiment)  # templates are compiled by the server before the first request
    gc.disable()  # a collection goes through what all tests hold
    try:
        with monitor() as held:
            pages = await asyncio.gather(*(visitor.look(experiment) for _ in range(READERS)))
    finally:
        gc.enable()

    assert [page.status for page in pages] == [200] * READERS
    assert counted == 1
    assert held.longest_ms < BAR_MS["anybody"]  # all of them rendered at once took four times as long
