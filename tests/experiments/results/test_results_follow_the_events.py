"""Results equal a plain recount of the events, for any order of events and any number of reads."""

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.db.database import Database
from app.metrics.facts.materializer import Materializer
from app.metrics.queries.scope import EXPOSURE_EVENTS
from tests.conftest import new_service
from tests.support.examples import examples
from tests.support.service import FUNNEL, TREND, Service

pytestmark = pytest.mark.clickhouse

START = dt.datetime(2022, 11, 1, tzinfo=dt.UTC)
END = dt.datetime(2022, 11, 15, tzinfo=dt.UTC)
VARIANTS = ("control", "test")
WINDOW = dt.timedelta(days=2)
IDS = ("ann", "bob", "cleo", "dan")

METRICS: Sequence[Mapping[str, Any]] = (
    {**FUNNEL, "funnel_window_days": WINDOW.days},
    {
        "insight": "FUNNELS",
        "funnel_window_days": WINDOW.days,
        "events": [
            {"id": "$pageview", "order": 0},
            {"id": "cart", "order": 1},
            {"id": "purchase", "order": 2, "properties": [{"key": "amount", "operator": "gt", "value": 10}]},
        ],
    },
    TREND,
    {"insight": "TRENDS", "events": [{"id": "purchase", "math": "dau"}]},
    {"insight": "TRENDS", "events": [{"id": "purchase", "math": "sum", "math_property": "amount"}]},
    {**FUNNEL, "funnel_window_days": WINDOW.days, "aggregation_group_type_index": 0},
    {
        "insight": "TRENDS",
        "events": [
            {"id": "purchase", "math": "dau", "properties": [{"key": "text", "value": "Buy", "type": "element"}]}
        ],
    },
)

# Both variants have persons, or there would be nothing to judge.
BASE = [
    {
        "event": name,
        "distinct_id": f"{variant} base",
        "time": START,
        "variant": variant,
        "amount": 20,
        "company": f"{variant} company",
        "clicked": "Buy",
        "uuid": None,
    }
    for variant in VARIANTS
    for name in ("$pageview", "cart", "purchase", "$feature_flag_called")
]

times = st.one_of(
    st.integers(0, 14 * 24 * 4).map(lambda quarter: START + quarter * dt.timedelta(minutes=15)),
    st.sampled_from([START - dt.timedelta(seconds=1), END, END + dt.timedelta(milliseconds=900)]),
    st.sampled_from([END + dt.timedelta(seconds=1), START + WINDOW]),
)
captured = st.fixed_dictionaries(
    {
        "event": st.sampled_from(["$pageview", "cart", "purchase", *EXPOSURE_EVENTS, "other"]),
        "distinct_id": st.sampled_from(IDS),
        "time": times,
        "variant": st.sampled_from([*VARIANTS, None, "", "junk"]),
        "amount": st.sampled_from([5, 10, 11, 12.5, None, "12", "many"]),
        "company": st.sampled_from(["acme", "tiny", None]),
        "clicked": st.sampled_from(["Buy", "Buy now", None]),
        "uuid": st.integers(1, 6).map(lambda number: UUID(int=number)) | st.none(),
    }
)
identified = st.fixed_dictionaries(
    {
        "event": st.sampled_from(["$identify", "$create_alias"]),
        "distinct_id": st.sampled_from(IDS),
        "other": st.sampled_from(IDS),
        "time": times,
    }
)
steps = st.lists(
    st.one_of(
        st.lists(st.one_of(captured, captured, identified), min_size=1, max_size=8),
        st.just("look"),
        st.sampled_from(range(len(METRICS))),
    ),
    max_size=8,
)


@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps, chunk=st.integers(1, 5), metric=st.sampled_from(range(len(METRICS))))
async def test_results_equal_a_recount_of_the_raw_events(
    application: FastAPI,
    client: httpx.AsyncClient,
    database: Database,
    steps: list[Any],
    chunk: int,
    metric: int,
) -> None:
    application.state.materializer = Materializer(database, chunk=chunk)
    service = await new_service(client, database)
    experiment = await service.create_experiment(filters=METRICS[metric])
    ledger = Ledger()
    await send(service, ledger, BASE)

    for step in steps:
        if isinstance(step, list):
            await send(service, ledger, step)
        elif step == "look":
            await service.read(f"/experiments/{experiment['id']}/results/")
        else:
            metric = step
            await service.patch(f"/experiments/{experiment['id']}/", {"filters": METRICS[metric]})
    results = await service.read(f"/experiments/{experiment['id']}/results/")

    assert results == await service.read(f"/experiments/{experiment['id']}/results/", refresh="true")
    if METRICS[metric]["insight"] == "FUNNELS":
        shown = {funnel[0]["breakdown_value"][0]: [step["count"] for step in funnel] for funnel in results["insight"]}
        assert shown == recount_funnel(ledger, METRICS[metric])
    else:
        totals = {series["breakdown_value"]: series["count"] for series in results["insight"]}
        exposed = {variant["key"]: variant["absolute_exposure"] for variant in results["variants"]}
        assert totals == recount_trend(ledger, METRICS[metric])
        assert exposed == {variant: len(persons) for variant, persons in recount_exposures(ledger).items()}


@dataclass
class Ledger:
    """What was acknowledged, in the order of arrival, and who is who after it."""

    events: list[Mapping[str, Any]] = field(default_factory=list)
    known: set[tuple[UUID, str, str]] = field(default_factory=set)
    persons: dict[str, int] = field(default_factory=dict)
    identified: set[int] = field(default_factory=set)

    def add(self, event: Mapping[str, Any]) -> None:
        if event.get("uuid"):
            same = event["uuid"], event["event"], event["distinct_id"]
            if same in self.known:
                return
            self.known.add(same)
        self.events.append(event)
        if "other" in event and event["other"] != event["distinct_id"]:
            self.join(event["other"], event["distinct_id"])
        self.persons.setdefault(event["distinct_id"], len(self.events))

    def join(self, previous: str, target: str) -> None:
        if previous not in self.persons and target not in self.persons:
            self.persons[previous] = self.persons[target] = len(self.events)
        elif previous not in self.persons:
            self.persons[previous] = self.persons[target]
        elif target not in self.persons:
            self.persons[target] = self.persons[previous]
        old, new = self.persons[previous], self.persons[target]
        if old != new and old not in self.identified:
            self.persons = {key: new if person == old else person for key, person in self.persons.items()}
        self.identified.add(new)


async def send(service: Service, ledger: Ledger, batch: Iterable[Mapping[str, Any]]) -> None:
    await service.capture(*(as_sent(event) for event in batch))
    for event in batch:
        ledger.add(event)


def as_sent(event: Mapping[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    if "other" in event:
        properties["$anon_distinct_id" if event["event"] == "$identify" else "alias"] = event["other"]
    elif event["event"] in EXPOSURE_EVENTS:
        properties = {"$feature_flag": "checkout", "$feature_flag_response": event["variant"]}
    else:
        properties = {"amount": event["amount"], "$elements": [{"tag_name": "a", "$el_text": event["clicked"]}]}
        if event["company"] is not None:
            properties["$groups"] = {"company": event["company"]}
        if event["variant"] is not None:
            properties["$feature/checkout"] = event["variant"]
    sent = {
        "event": event["event"],
        "distinct_id": event["distinct_id"],
        "timestamp": event["time"].isoformat(),
        "properties": properties,
    }
    return {**sent, "uuid": str(event["uuid"])} if event.get("uuid") else sent


def in_window(event: Mapping[str, Any]) -> bool:
    second = event["time"].replace(microsecond=0)
    return START <= second <= END and "other" not in event


def passes(event: Mapping[str, Any], entity: Mapping[str, Any]) -> bool:
    if event["event"] != entity["id"] or not in_window(event):
        return False
    conditions = entity.get("properties") or [{}]
    if conditions[0].get("type") == "element":
        return bool(event["clicked"] == "Buy")
    return not conditions[0] or (number(event["amount"]) or 0) > 10


def number(amount: object) -> float | None:
    try:
        return float(amount)  # type: ignore[arg-type]  # anything else is refused below
    except (TypeError, ValueError):
        return None


def recount_funnel(ledger: Ledger, metric: Mapping[str, Any]) -> dict[str, list[int]]:
    entities = metric["events"]
    of_groups = "aggregation_group_type_index" in metric
    by_actor: dict[object, list[Mapping[str, Any]]] = defaultdict(list)
    for event in ledger.events:
        if any(passes(event, entity) for entity in entities):
            actor = event["company"] if of_groups else ledger.persons[event["distinct_id"]]
            if actor is not None:
                by_actor[actor].append(event)
    counts: dict[str, list[int]] = {}
    for events in by_actor.values():
        named = [event for event in sorted(events, key=lambda event: event["time"]) if event["variant"]]
        reached = max((walk(events, entities, start) for start in events if passes(start, entities[0])), default=0)
        if named and named[0]["variant"] in VARIANTS and reached:
            row = counts.setdefault(named[0]["variant"], [0] * len(entities))
            for step in range(reached):
                row[step] += 1
    return counts


def walk(events: Sequence[Mapping[str, Any]], entities: Sequence[Mapping[str, Any]], start: Mapping[str, Any]) -> int:
    """Return how many steps are reached from one start, always taking the next step's first event."""
    last, reached = start["time"], 1
    for entity in entities[1:]:
        following = [event["time"] for event in events if passes(event, entity) and event["time"] >= last]
        if not following or min(following) > start["time"] + WINDOW:
            break
        last, reached = min(following), reached + 1
    return reached


def recount_trend(ledger: Ledger, metric: Mapping[str, Any]) -> dict[str, float]:
    [entity] = metric["events"]
    matching = [event for event in ledger.events if passes(event, entity) and event["variant"] in VARIANTS]
    if entity.get("math") == "dau":
        pairs = {(event["variant"], ledger.persons[event["distinct_id"]]) for event in matching}
        return dict(Counter(variant for variant, _ in pairs))
    totals: dict[str, float] = defaultdict(float)
    for event in matching:
        totals[event["variant"]] += (number(event["amount"]) or 0) if entity.get("math") == "sum" else 1
    return dict(totals)


def recount_exposures(ledger: Ledger) -> dict[str, set[int]]:
    exposed: dict[str, set[int]] = defaultdict(set)
    for event in ledger.events:
        if event["event"] in EXPOSURE_EVENTS and in_window(event) and event["variant"] in VARIANTS:
            exposed[event["variant"]].add(ledger.persons[event["distinct_id"]])
    return exposed
