"""The demonstration's experiments are in the states that they are there to show."""

from typing import Any

import pytest

from app.db.models import utc_now
from app.operations.demo.states import EXAMPLES, Example
from tests.support.service import Service

pytestmark = pytest.mark.one_database


async def decide(service: Service, example: Example) -> Any:
    now = utc_now()
    answer = await service.post("/experiments/", example.body(now))
    assert answer.status_code == 201, answer.text
    events = list(example.events(now))
    for start in range(0, len(events), 1000):
        await service.capture(*events[start : start + 1000])
    return await service.read(f"/experiments/{answer.json()['id']}/decision/")


async def test_examples_are_shipped_running_broken_and_a_draft(service: Service) -> None:
    shipped, running, broken, draft = [await decide(service, example) for example in EXAMPLES]

    assert (shipped["recommendation"], shipped["variant_key"]) == ("ship", EXAMPLES[0].ships)
    assert (running["recommendation"], running["state"]) == ("keep_running", "running_below_minimum_time")
    assert broken["recommendation"] == "blocked"
    assert draft["state"] == "draft"
