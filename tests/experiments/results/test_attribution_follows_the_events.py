"""Funnels and trends by exposure equal a plain recount of the events, in any order and between any looks."""

from collections.abc import Callable, Iterable, Mapping, Sequence
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
    WINDOW,
    Story,
    as_event,
    done,
    exposed,
    merge,
    steps,
)
from tests.support.examples import examples

pytestmark = pytest.mark.clickhouse

FUNNEL = {
    "insight": "FUNNELS",
    "events": [{"id": "visit", "order": 0}, {"id": "purchase", "order": 1}],
    "funnel_window_interval": WINDOW,
    "funnel_window_interval_unit": "hour",
}


def trend(math: str, **fields: str) -> dict[str, Any]:
    return {"insight": "TRENDS", "events": [{"id": "purchase", "math": math, **fields}]}


def funnel_steps(own: Sequence[Story], hour: int) -> list[float]:
    visits = [one["hour"] for one in done(own, "visit", hour, END_HOUR + 1)]
    purchases = [one["hour"] for one in done(own, "purchase", hour, END_HOUR + 1)]
    converted = any(visit <= purchase <= visit + WINDOW for visit in visits for purchase in purchases)
    return [float(bool(visits)), float(converted)]


def purchases(own: Sequence[Story], hour: int) -> list[float]:
    return [float(len(done(own, "purchase", hour, END_HOUR + 1))), 1]


def buyers(own: Sequence[Story], hour: int) -> list[float]:
    return [min(1.0, purchases(own, hour)[0]), 1]


def revenue(own: Sequence[Story], hour: int) -> list[float]:
    return [sum(one["amount"] or 0 for one in done(own, "purchase", hour, END_HOUR + 1)), 1]


METRICS: Sequence[tuple[Mapping[str, Any], Callable[[Sequence[Story], int], list[float]]]] = (
    (FUNNEL, funnel_steps),
    (trend("total"), purchases),
    (trend("dau"), buyers),
    (trend("sum", math_property="amount"), revenue),
)
# Both variants have data, or there would be nothing to judge.
BASE: Sequence[Story] = [
    {"name": name, "person": f"{variant} base", "hour": 0, "variant": variant, "amount": 1}
    for variant in ("control", "test")
    for name in ("shown", "visit", "purchase")
]


@settings(max_examples=examples(20), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps, handling=st.sampled_from(["exclude", "first_seen"]), metric=st.sampled_from(METRICS))
async def test_results_by_exposure_equal_a_recount_of_the_raw_events(
    client: httpx.AsyncClient, database: Database, steps: list[Any], handling: str, metric: tuple[Any, Any]
) -> None:
    service = await new_service(client, database)
    experiment = await service.create_experiment(
        end_date="2022-11-04T00:00:00Z",
        filters=metric[0],
        parameters={"attribution": "exposure"},
        exposure_criteria={"multiple_variant_handling": handling},
    )
    path, sent = f"/experiments/{experiment['id']}/results/", [*BASE]
    owner = {one["person"]: one["person"] for one in BASE} | {person: person for person in PERSONS}
    await service.capture(*map(as_event, BASE))

    for step in steps:
        if step == "look":
            await service.read(path)
        elif isinstance(step, list):
            await service.capture(*map(as_event, step))
            sent += step
        elif owner[step[0]] != owner[step[1]]:
            await merge(service, owner, *step)
    results = await service.read(path)

    assert results == await service.read(path, refresh="true")
    people: dict[str, list[Story]] = {}
    for one in sent:
        people.setdefault(owner[one["person"]], []).append(one)
    assert shown(results) == recount(people.values(), metric[1], handling)


def shown(results: Any) -> dict[str, list[float]]:
    if results["kind"] == "funnel":
        return {steps[0]["breakdown_value"][0]: [step["count"] for step in steps] for steps in results["insight"]}
    return {one["key"]: [one["count"], one["absolute_exposure"]] for one in results["variants"]}


def recount(
    people: Iterable[Sequence[Story]], value_of: Callable[[Sequence[Story], int], list[float]], handling: str
) -> dict[str, list[float]]:
    totals = {"control": [0.0, 0.0], "test": [0.0, 0.0]}
    for own in people:
        found = first_seen(own) if handling == "first_seen" else exposed(own)
        if found is not None:
            variant, hour = found
            totals[variant] = [one + other for one, other in zip(totals[variant], value_of(own, hour), strict=True)]
    return {variant: [int(first), second] for variant, (first, second) in totals.items()}


def first_seen(own: Sequence[Story]) -> tuple[str, int] | None:
    shown = [one for one in own if one["name"] == "shown" and 0 <= one["hour"] <= END_HOUR]
    if not shown:
        return None
    first = min(shown, key=lambda one: int(one["hour"]))  # of several at one moment, the one that arrived first
    return first["variant"], first["hour"]
