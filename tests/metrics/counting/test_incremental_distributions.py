"""Counts of exposed persons, as ``test_incremental`` for what is read off the values of all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.common import limits
from app.common.timestamps import to_microseconds
from app.db.database import Database
from app.db.models import Count
from app.metrics.counting import deltas, incremental
from app.metrics.counting.fact_query import FactQuery
from app.metrics.counting.service import FactService
from app.metrics.facts.materializer import Materializer
from app.metrics.queries.breakdown import Breakdown, BrokenDownBy, breakdown_fact_query
from app.metrics.queries.entities import NO_FILTER
from app.metrics.queries.models import ExposureQuery
from app.metrics.queries.scope import ExperimentScope, buckets
from app.metrics.queries.typed.fact_queries import typed_fact_query
from app.metrics.queries.typed.reading import parse_metric, read_typed
from app.metrics.queries.typed.rules import TypedRules
from tests.conftest import new_service
from tests.metrics.counting.test_incremental import HOUR, START, Edit, history, live_through, rows
from tests.support.examples import examples
from tests.support.service import Service, event, exposure

pytestmark = [pytest.mark.one_database, pytest.mark.own_database]

PURCHASE = {"kind": "EventsNode", "event": "buy"}
CAPPED: Mapping[str, Any] = {
    "metric_type": "mean",
    "source": {**PURCHASE, "math": "sum", "math_property": "amount"},
    "lower_bound_percentile": 0.2,
    "upper_bound_percentile": 0.8,
}
TYPED: Sequence[Mapping[str, Any]] = [
    CAPPED,
    {
        "metric_type": "ratio",
        "numerator": CAPPED["source"],
        "denominator": {"kind": "EventsNode", "event": "visit"},
        "numerator_outlier_handling": {"upper_bound_percentile": 0.5, "ignore_zeros": True},
    },
    {"metric_type": "mean", "source": {**PURCHASE, "math": "unique_group", "math_group_type_index": 0}},
    {"metric_type": "quantile", "quantile_level": 0.5, "source": {**PURCHASE, "math": "unique_session"}},
    {
        "metric_type": "quantile",
        "quantile_level": 0.5,
        "quantile_type": "event",
        "source": {**PURCHASE, "math_property": "amount"},
    },
]


MATURING: Sequence[Mapping[str, Any]] = [
    {"metric_type": "mean", "source": PURCHASE, "conversion_window": 5, "conversion_window_unit": "hour"},
    {
        "metric_type": "retention",
        "start_event": PURCHASE,
        "completion_event": {"kind": "EventsNode", "event": "visit"},
        "retention_window_start": 0,
        "retention_window_end": 1,
        "start_handling": "last_seen",
    },
]


def exposed_fact_queries(hours: int, edit: Edit) -> Sequence[FactQuery[Any]]:
    """Return metrics that are read off the values of all exposed persons, and breakdowns."""
    start = START + edit.start_hour * HOUR
    end = None if edit.end_hour is None else START + edit.end_hour * HOUR
    scope = ExperimentScope("checkout", edit.variants, start, end, START + hours * HOUR, ZoneInfo("UTC"))
    exposures = ExposureQuery([scope.exposures()], "", "", filters_test_accounts=False)
    days, rules = buckets(scope, "day"), TypedRules(lookback_days=1)
    metrics = [parse_metric(body) for body in TYPED]
    typed = [
        typed_fact_query(read_typed(metric, {}, NO_FILTER), exposures, scope, days, rules).fact_query
        for metric in metrics
    ]
    waiting = [
        typed_fact_query(
            read_typed(metric, {}, NO_FILTER), exposures, scope, days, replace(rules, only_matured=True)
        ).fact_query
        for metric in map(parse_metric, MATURING)
    ]
    beginning = to_microseconds(start + 20 * HOUR)
    typed += waiting
    ways: Sequence[tuple[BrokenDownBy, int]] = [("exposure", 0), ("metric", 0), ("exposure", 3), ("metric", -2)]
    broken = [
        breakdown_fact_query(
            Breakdown("device", by=by, limit=2), typed[place], exposures, scope, [beginning], person_keys=None
        )
        for by, place in ways
    ]
    assert all(one.is_incremental for one in (*typed, *broken))
    return [*typed, *broken]


@settings(max_examples=examples(10), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=history, most_new=st.sampled_from([5, 20_000]))
async def test_incremental_caps_quantiles_and_breakdowns_equal_recomputed_ones(
    client: httpx.AsyncClient,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    history: list[Any],
    most_new: int,
) -> None:
    monkeypatch.setattr(deltas, "MAX_DELTA", most_new)
    monkeypatch.setattr(incremental, "FACTS_AT_A_TIME", 6)
    await live_through(history, exposed_fact_queries, (await new_service(client, database)).project_id, database)


async def test_count_that_is_too_large_to_keep_is_counted_again_each_time(
    service: Service, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = FactService(database, Materializer(database), service.project_id)
    purchase = event("buy", "ann", (START + 2 * HOUR).isoformat(), properties={"amount": 7})
    await service.capture(exposure("ann", "test", (START + HOUR).isoformat()), purchase)
    capped = exposed_fact_queries(48, Edit())[0]
    monkeypatch.setattr(limits, "KEPT_COUNT_BYTES", replace(limits.KEPT_COUNT_BYTES, value=10))

    [before] = await facts.counts([capped])
    await service.capture({**purchase, "uuid": str(uuid4())})
    [after] = await facts.counts([capped])

    assert await rows(database, Count) == 0
    assert [float(one.moments(-1)[1][1]) for one in (before, after)] == [7, 14]
