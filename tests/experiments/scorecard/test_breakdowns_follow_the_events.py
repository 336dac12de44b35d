"""Breakdowns equal a plain recount of the events, in whatever order those arrive."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.db.database import Database
from tests.conftest import new_service
from tests.experiments.scorecard.test_typed_metrics_follow_the_events import (
    END_HOUR,
    PERSONS,
    START,
    Story,
    done,
    exposed,
    merge,
)
from tests.support.examples import examples
from tests.support.service import event

pytestmark = pytest.mark.clickhouse

Counted = tuple[int, float]  # persons, and the sum of their values

stories = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["shown", "shown", "purchase"]),
        "person": st.sampled_from(PERSONS),
        "hour": st.integers(-2, 90),
        "variant": st.sampled_from(["control", "test", "test"]),
        "device": st.sampled_from(["phone", "desktop", 2, None]),
    }
)
merges = st.tuples(st.sampled_from(PERSONS), st.sampled_from(PERSONS))
steps = st.lists(st.one_of(st.lists(stories, min_size=1, max_size=10), merges), min_size=1, max_size=5)
PURCHASES = {"metric_type": "mean", "name": "Purchases", "source": {"kind": "EventsNode", "event": "purchase"}}


@settings(max_examples=examples(15), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps, limit=st.integers(1, 5))
async def test_breakdowns_equal_a_recount_of_the_raw_events(
    client: httpx.AsyncClient, database: Database, steps: list[Any], limit: int
) -> None:
    service = await new_service(client, database)
    experiment = await service.create_experiment(end_date="2022-11-04T00:00:00Z", filters={}, metrics=[PURCHASES])
    path, sent = f"/experiments/{experiment['id']}/analysis/", list[Story]()
    owner = {person: person for person in PERSONS}

    for step in steps:
        if isinstance(step, list):
            await service.capture(*map(as_event, step))
            sent += step
            await service.read(path, breakdown="device")
        elif owner[step[0]] != owner[step[1]]:
            await merge(service, owner, *step)

    people: dict[str, list[Story]] = {}
    for one in sent:
        people.setdefault(owner[one["person"]], []).append(one)
    for by, recount in (("exposure", by_exposure(people.values())), ("metric", by_metric(people.values()))):
        answer = (await service.read(path, breakdown="device", breakdown_by=by, limit=limit))["breakdown"]
        assert_equal(answer, recount, limit)


def assert_equal(answer: Any, recount: Mapping[str | None, Mapping[str, Counted]], limit: int) -> None:
    """Compare the values that are shown, and the rest."""
    found = {one["value"]: counts(one) for one in answer["values"]}
    assert len(found) == min(limit, len(recount))
    assert found == {value: recount[value] for value in found}
    assert answer["truncated"] is (len(recount) > limit)
    if answer["truncated"]:
        rest = [of_variants for value, of_variants in recount.items() if value not in found]
        persons = max if answer["by"] == "metric" else sum
        assert counts(answer["other"]) == {
            variant: (persons(one[variant][0] for one in rest), sum(one[variant][1] for one in rest))
            for variant in ("control", "test")
        }


def counts(segment: Any) -> dict[str, Counted]:
    return {one["key"]: (one["number_of_samples"], one["sum"]) for one in segment["analysis"]["variants"]}


def by_exposure(people: Iterable[Sequence[Story]]) -> dict[str | None, dict[str, Counted]]:
    totals: dict[str | None, dict[str, Counted]] = {}
    for own in people:
        found = exposed(own)
        if found is not None:
            variant, hour = found
            shown = [one for one in own if one["name"] == "shown" and one["hour"] == hour]
            segment = totals.setdefault(text(shown[0]["device"]), {"control": (0, 0), "test": (0, 0)})
            persons, bought = segment[variant]
            segment[variant] = (persons + 1, bought + len(done(own, "purchase", hour, END_HOUR + 1)))
    return totals


def by_metric(people: Iterable[Sequence[Story]]) -> dict[str | None, dict[str, Counted]]:
    known = [(found, own) for own in people if (found := exposed(own)) is not None]
    bought = [
        (variant, text(one["device"]))
        for (variant, hour), own in known
        for one in done(own, "purchase", hour, END_HOUR + 1)
    ]
    return {
        device: {
            variant: (sum(found[0] == variant for found, _ in known), bought.count((variant, device)))
            for variant in ("control", "test")
        }
        for device in {device for _, device in bought}
    }


def text(device: object) -> str | None:
    return None if device is None else str(device)


def as_event(story: Story) -> dict[str, object]:
    time = (START + dt.timedelta(hours=story["hour"])).isoformat()
    device = {} if story["device"] is None else {"device": story["device"]}
    if story["name"] == "shown":
        properties = {"$feature_flag": "checkout", "$feature_flag_response": story["variant"], **device}
        return event("$feature_flag_called", story["person"], time, properties=properties)
    return event("purchase", story["person"], time, properties=device)
