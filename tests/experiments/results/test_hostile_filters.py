"""Experiments store any filters; results answer or refuse them, and never fail."""

from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from app.db.database import Database
from tests.conftest import new_service
from tests.support.examples import examples
from tests.support.service import event

pytestmark = pytest.mark.clickhouse

MATHS = [
    "dau",
    "sum",
    "p99",
    "median_count_per_actor",
    "unique_group",
    "unique_session",
    "weekly_active",
    "monthly_active",
]

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(
        ["", "0", "1", "$pageview", "day", "hour", "month", "AND", "OR", "[", '[{"id": "$pageview"}]', "é😀"]
    ),
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
conditions = st.fixed_dictionaries(
    {},
    optional={
        "key": st.one_of(scalars, st.sampled_from(["$session_duration", "selector", "tag_name", "href", "text"])),
        "value": anything,
        "type": st.sampled_from(["event", "person", "cohort", "group", "element", "session", "x", None, 3]),
        "operator": st.sampled_from(
            ["exact", "is_not", "regex", "gt", "is_set", "is_date_before", "icontains", "x", 3]
        ),
        "negation": scalars,
        "group_type_index": st.one_of(st.integers(0, 4), scalars),
    },
)
properties = st.one_of(
    anything,
    st.lists(conditions, max_size=3),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["AND", "OR", "XOR", 1]), "values": st.lists(conditions, max_size=2)}
    ),
)
entities = st.fixed_dictionaries(
    {},
    optional={
        "id": st.one_of(st.just("$pageview"), scalars),
        "order": anything,
        "name": scalars,
        "custom_name": anything,
        "math": st.one_of(scalars, st.sampled_from(MATHS)),
        "math_property": st.one_of(scalars, st.just("$session_duration")),
        "math_group_type_index": st.one_of(st.integers(0, 4), scalars),
        "properties": properties,
        "funnel_from_step": scalars,
        "funnel_to_step": scalars,
    },
)
filters = st.fixed_dictionaries(
    {"insight": st.one_of(st.sampled_from(["TRENDS", "FUNNELS", "funnels", "PATHS"]), anything)},
    optional={
        "events": st.one_of(anything, st.lists(entities, max_size=3)),
        "actions": st.one_of(anything, st.lists(entities, max_size=2)),
        "exclusions": st.one_of(anything, st.lists(entities, max_size=2)),
        "interval": anything,
        "display": anything,
        "funnel_window_days": anything,
        "funnel_window_interval": anything,
        "funnel_window_interval_unit": anything,
        "funnel_order_type": st.one_of(st.sampled_from(["ordered", "strict", "unordered"]), anything),
        "breakdown_attribution_type": st.one_of(st.sampled_from(["last_touch", "all_events", "step"]), anything),
        "breakdown_attribution_value": st.one_of(st.integers(-1, 3), anything),
        "aggregation_group_type_index": st.one_of(st.integers(0, 4), anything),
        "filter_test_accounts": anything,
    },
)


@settings(
    max_examples=examples(50), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much]
)
@given(
    document=filters, start=st.sampled_from(["1900-01-01T00:00:00Z", "2022-11-01T00:00:00Z", "2199-12-31T23:59:59Z"])
)
async def test_hostile_filters_cause_no_server_error(
    client: httpx.AsyncClient, database: Database, document: dict[str, Any], start: str
) -> None:
    service = await new_service(client, database)
    await service.capture(*[event("$pageview", key, variant=key, properties={"1": key}) for key in ("control", "test")])
    response = await service.post(
        "/experiments/",
        {
            "name": "Hostile",
            "feature_flag_key": "checkout",
            "start_date": start,
            "filters": document,
            "parameters": {"custom_exposure_filter": document},
            "secondary_metrics": [{"filters": document}],
        },
    )
    assert response.status_code in {201, 400}, response.text
    assume(response.status_code == 201)

    for path in ("results/", "secondary_results/?id=0"):
        answer = await service.get(f"/experiments/{response.json()['id']}/{path}")
        assert answer.status_code in {200, 400}, (path, answer.text)
