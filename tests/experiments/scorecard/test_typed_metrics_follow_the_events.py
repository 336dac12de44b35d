"""Typed metrics equal a plain recount of the events, in whatever order those arrive, and between any looks."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.db.database import Database
from tests.conftest import new_service
from tests.support.examples import examples
from tests.support.service import Service, event, exposure

pytestmark = pytest.mark.clickhouse

START = dt.datetime(2022, 11, 1, tzinfo=dt.UTC)
END_HOUR = 72
WINDOW = 10  # hours
PERSONS = ("ann", "bob", "cleo")
Story = Mapping[str, Any]  # an event: name, person, hour, variant, amount

PURCHASE = {"kind": "EventsNode", "event": "purchase"}
VISIT = {"kind": "EventsNode", "event": "visit"}
WINDOWED = {"conversion_window": WINDOW, "conversion_window_unit": "hour"}

COVARIATE = ("covariate_sum", "covariate_sum_squares", "main_covariate_sum_product")

stories = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["shown", "shown", "visit", "purchase"]),
        "person": st.sampled_from(PERSONS),
        "hour": st.integers(-2, 90),
        "variant": st.sampled_from(["control", "test", "test"]),
        "amount": st.sampled_from([1, 2.5, None]),
    }
)
merges = st.tuples(st.sampled_from(PERSONS), st.sampled_from(PERSONS))
steps = st.lists(st.one_of(st.lists(stories, min_size=1, max_size=8), st.just("look"), merges), min_size=1, max_size=7)


def exposed(own: Sequence[Story]) -> tuple[str, int] | None:
    """Return the variant and the hour of a person's exposure."""
    shown = [(one["hour"], one["variant"]) for one in own if one["name"] == "shown" and 0 <= one["hour"] <= END_HOUR]
    return (min(shown)[1], min(shown)[0]) if len({variant for _, variant in shown}) == 1 else None


def done(own: Sequence[Story], name: str, first: int, until: int) -> list[Story]:
    return [one for one in own if one["name"] == name and first <= one["hour"] < until]


def total(own: Sequence[Story], hour: int) -> list[float]:
    value = len(done(own, "purchase", hour, END_HOUR + 1))
    return [value, value**2]


def revenue(own: Sequence[Story], hour: int) -> list[float]:
    value = sum(one["amount"] or 0 for one in done(own, "purchase", hour, hour + WINDOW))
    return [value, value**2]


def average_price(own: Sequence[Story], hour: int) -> list[float]:
    amounts = [one["amount"] for one in done(own, "purchase", hour, END_HOUR + 1) if one["amount"] is not None]
    value = sum(amounts) / len(amounts) if amounts else 0
    return [value, value**2]


def converted(own: Sequence[Story], hour: int) -> list[float]:
    visits = sorted(one["hour"] for one in done(own, "visit", hour, hour + WINDOW))
    value = bool(visits) and any(visits[0] < one["hour"] for one in done(own, "purchase", hour, hour + WINDOW))
    earlier = sorted(one["hour"] for one in done(own, "visit", hour - 14 * 24, hour))
    before = bool(earlier) and any(earlier[0] < one["hour"] for one in done(own, "purchase", earlier[0], hour))
    return [float(one) for one in (value, value, before, before, value and before)]


def bought_twice(own: Sequence[Story], hour: int) -> list[float]:
    return [float(len(done(own, "purchase", hour, END_HOUR + 1)) >= 2)] * 2


def median_price(own: Sequence[Story], hour: int) -> list[float]:
    """Return the prices, of which there may be several a person."""
    return [one["amount"] for one in done(own, "purchase", hour, END_HOUR + 1) if one["amount"] is not None]


def visits(own: Sequence[Story], hour: int) -> list[float]:
    return [float(len(done(own, "visit", hour, hour + WINDOW)))]


def revenue_per_visit(own: Sequence[Story], hour: int) -> list[float]:
    y, d = revenue_and_visits(own, hour, END_HOUR + 1)
    x, e = revenue_and_visits(own, hour - 14 * 24, hour)
    return [y, y**2, d, d**2, y * d, x, x**2, e, e**2, x * e, y * x, y * e, d * x, d * e]


def revenue_and_visits(own: Sequence[Story], first: int, until: int) -> tuple[float, float]:
    return sum(one["amount"] or 0 for one in done(own, "purchase", first, until)), len(done(own, "visit", first, until))


def returned(own: Sequence[Story], hour: int) -> list[float] | None:
    visits = sorted(one["hour"] for one in done(own, "visit", hour, END_HOUR + 1))
    if not visits:
        return None
    return [float(any(one["hour"] // 24 == visits[0] // 24 + 1 for one in done(own, "purchase", visits[0], 999)))] * 2


METRICS: Mapping[str, tuple[Mapping[str, Any], Callable[[Sequence[Story], int], list[float] | None]]] = {
    "total": ({"metric_type": "mean", "source": PURCHASE}, total),
    "revenue": (
        {"metric_type": "mean", "source": {**PURCHASE, "math": "sum", "math_property": "amount"}, **WINDOWED},
        revenue,
    ),
    "price": ({"metric_type": "mean", "source": {**PURCHASE, "math": "avg", "math_property": "amount"}}, average_price),
    "funnel": ({"metric_type": "funnel", "series": [VISIT, PURCHASE], **WINDOWED}, converted),
    "threshold": ({"metric_type": "mean", "source": PURCHASE, "threshold": 2}, bought_twice),
    "ratio": (
        {
            "metric_type": "ratio",
            "numerator": {**PURCHASE, "math": "sum", "math_property": "amount"},
            "denominator": VISIT,
        },
        revenue_per_visit,
    ),
    "price, median": (
        {
            "metric_type": "quantile",
            "quantile_level": 0.5,
            "quantile_type": "event",
            "source": {**PURCHASE, "math_property": "amount"},
        },
        median_price,
    ),
    "visits, upper quartile": (
        {"metric_type": "quantile", "quantile_level": 0.75, "source": VISIT, **WINDOWED},
        visits,
    ),
    "retention": (
        {
            "metric_type": "retention",
            "start_event": VISIT,
            "completion_event": PURCHASE,
            "retention_window_start": 1,
            "retention_window_end": 1,
        },
        returned,
    ),
}


@settings(max_examples=examples(12), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
async def test_typed_metrics_equal_a_recount_of_the_raw_events(
    client: httpx.AsyncClient, database: Database, steps: list[Any]
) -> None:
    service = await new_service(client, database)
    experiment = await service.create_experiment(
        end_date="2022-11-04T00:00:00Z",
        filters={},
        metrics=[{**body, "name": name} for name, (body, _) in METRICS.items()],
        stats_config={"cuped": {"lookback_days": 14}},
    )
    sent: list[Story] = []
    owner = {person: person for person in PERSONS}

    for step in steps:
        if step == "look":
            await service.read(f"/experiments/{experiment['id']}/analysis/")
        elif isinstance(step, list):
            await service.capture(*map(as_event, step))
            sent += step
        elif owner[step[0]] != owner[step[1]]:
            await merge(service, owner, *step)
    body = await service.read(f"/experiments/{experiment['id']}/analysis/")

    people: dict[str, list[Story]] = {}
    for one in sent:
        people.setdefault(owner[one["person"]], []).append(one)
    for metric in body["metrics"]:
        await expect_same_of_analyze(service, metric)
        recount = recount_of(METRICS[metric["name"]][1], people.values())
        for variant in metric["analysis"]["variants"]:
            expected = recount[variant["key"]]
            counted = [variant["number_of_samples"], variant["sum"], variant["sum_squares"]]
            if metric["name"] == "ratio":
                [own] = [one for one in metric["counts"] if one["key"] == variant["key"]]
                sums = [sum(row[place] for row in expected) for place in range(14)]
                assert list(own.values())[1:] == pytest.approx([len(expected), *sums])
            elif "," in metric["name"]:
                level, values = (
                    METRICS[metric["name"]][0]["quantile_level"],
                    sorted(one for row in expected for one in row),
                )
                assert variant["number_of_samples"] == len(expected)
                assert variant["mean"] == (values[int(level * len(values))] if values else None)
            else:
                sums = [sum(row[place] for row in expected) for place in (0, 1)]
                [own] = [one for one in metric["counts"] if one["key"] == variant["key"]]
                covariate = [sum(column) for column in list(zip(*expected, strict=True))[2:]] or [0] * 3
                assert metric["name"] != "funnel" or [own[name] for name in COVARIATE] == covariate
                assert counted == pytest.approx([len(expected), *sums]), metric["name"]


async def expect_same_of_analyze(service: Service, metric: dict[str, Any]) -> None:
    """See that the analysis of a metric is what ``analyze`` says about its counts."""
    shown = metric["analysis"]
    request = {name: shown[name] for name in ("metric_type", "stats_config")} | {"variants": metric["counts"]}
    response = await service.post("/experiments/analyze/", request)

    assert response.status_code == 200, response.text
    for variant, expected in zip(shown["variants"], response.json()["variants"], strict=True):
        assert variant == {name: nearly(value) for name, value in expected.items()}
    assert shown["conclusion"] == response.json()["conclusion"]


def nearly(value: Any) -> Any:
    """Return a figure to compare with: sums that are sent as JSON have lost digits."""
    is_figure = isinstance(value, float) or (isinstance(value, list) and all(isinstance(one, float) for one in value))
    return pytest.approx(value, rel=1e-9, abs=1e-12) if is_figure else value


def recount_of(
    value_of: Callable[[Sequence[Story], int], list[float] | None], people: Any
) -> dict[str, list[list[float]]]:
    values: dict[str, list[list[float]]] = {"control": [], "test": []}
    for own in people:
        found = exposed(own)
        if found is not None and (value := value_of(own, found[1])) is not None:
            values[found[0]].append(value)
    return values


def as_event(story: Story) -> dict[str, object]:
    time = (START + dt.timedelta(hours=story["hour"])).isoformat()
    if story["name"] == "shown":
        return exposure(story["person"], story["variant"], time)
    return event(story["name"], story["person"], time, properties={"amount": story["amount"]})


async def merge(service: Service, owner: dict[str, str], one: str, other: str) -> None:
    await service.capture(event("$merge_dangerously", one, properties={"alias": other}))
    merged = owner[other]
    owner.update({person: owner[one] for person, belongs_to in owner.items() if belongs_to == merged})
