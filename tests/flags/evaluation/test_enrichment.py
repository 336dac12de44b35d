"""Events that browsers sent before they had received their flags get them from the server."""

import asyncio
import itertools
import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event as sqlalchemy_event

from app.db.database import Database
from app.flags.evaluation.dependencies import build_evaluation
from app.flags.evaluation.enrichment import EnrichmentService
from app.flags.evaluation.event_flags import lacks_flags, with_flags
from tests.flags.evaluation.asking import COUNTRY, EVERYBODY, HALVES, create_flag, values
from tests.support.service import TREND, Service, event

pytestmark = pytest.mark.one_database

WEB = {"$lib": "web"}


@dataclass(frozen=True)
class Sent:
    distinct_id: str
    properties: str


def sent(distinct_id: str, **properties: object) -> Sent:
    return Sent(distinct_id, json.dumps({**WEB, **properties}))


@pytest.fixture
def enrichment(application: FastAPI) -> EnrichmentService:
    return build_evaluation(application.state.database)[1]


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        (WEB, True),
        ({**WEB, "$active_feature_flags": []}, False),
        ({**WEB, "$active_feature_flags": None}, False),
        ({**WEB, "about": "$active_feature_flags"}, True),
        ({"$lib": "posthog-python"}, False),
        ({"$lib": "posthog-python", "kind": "web"}, False),
        ({"nested": WEB}, False),
        ({}, False),
    ],
)
def test_browser_events_without_flag_properties_lack_flags(properties: dict[str, Any], expected: object) -> None:
    assert lacks_flags(json.dumps(properties)) is expected


members = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=5), values, max_size=3),
    max_leaves=8,
)
flags = st.dictionaries(st.text(min_size=1, max_size=8), st.sampled_from([True, "a", "test"]), max_size=4)


@given(
    st.dictionaries(st.text(max_size=5), members), flags, st.sampled_from([None, 1]), st.sampled_from(["", " ", "\n"])
)
def test_flags_are_added_and_nothing_else_changes(
    properties: dict[str, Any], values: dict[str, bool | str], indent: int | None, blanks: str
) -> None:
    properties = {**properties, "$feature/own": "mine"}

    enriched = with_flags(json.dumps(properties, indent=indent) + blanks, {**values, "own": "other"})

    added = {f"$feature/{key}": value for key, value in values.items()}
    pairs = json.loads(enriched, object_pairs_hook=list)
    assert len(pairs) == len({name for name, _ in pairs})
    assert json.loads(enriched) == {**added, "$active_feature_flags": [*{**values, "own": ""}], **properties}


def test_event_without_properties_gets_them_too() -> None:
    assert json.loads(with_flags("{}", {"a": True})) == {"$active_feature_flags": ["a"], "$feature/a": True}


async def test_events_get_the_flags_that_are_on_for_their_person(
    service: Service, enrichment: EnrichmentService
) -> None:
    await create_flag(service, filters={"groups": [{}], "multivariate": HALVES})
    await create_flag(service, "dutch", filters={"groups": [{"properties": [COUNTRY]}]})
    await create_flag(service, "companies", filters={"groups": [{}], "aggregation_group_type_index": 0})
    await create_flag(service, "inactive", active=False)
    await service.capture(event("visit", "distinct_id_0", properties={"$set": {"country": "NL"}}))

    known, stranger, told = await enrichment.enrich(
        service.token,
        [
            sent("distinct_id_0", page=1),
            sent("distinct_id_2"),
            sent("distinct_id_2", **{"$active_feature_flags": ["beta-feature"]}),
        ],
    )

    assert json.loads(known) == {
        **WEB,
        "page": 1,
        "$active_feature_flags": ["beta-feature", "dutch"],
        "$feature/beta-feature": "test",
        "$feature/dutch": True,
    }
    assert json.loads(stranger) == {
        **WEB,
        "$active_feature_flags": ["beta-feature"],
        "$feature/beta-feature": "control",
    }
    assert json.loads(told) == {**WEB, "$active_feature_flags": ["beta-feature"]}


async def test_enrichment_keeps_the_variant_from_before_the_login(
    service: Service, enrichment: EnrichmentService
) -> None:
    filters = {"groups": [{}], "multivariate": HALVES}
    await create_flag(service, filters=filters, ensure_experience_continuity=True)
    await service.capture(event("visit", "distinct_id_2"))
    body = {"token": service.token, "distinct_id": "distinct_id_2", "$anon_distinct_id": "distinct_id_0"}
    await service.client.post("/flags/", json=body)

    [enriched] = await enrichment.enrich(service.token, [sent("distinct_id_2")])

    assert json.loads(enriched)["$feature/beta-feature"] == "test"


async def test_events_sent_with_a_members_key_get_them_too(service: Service) -> None:
    await create_flag(service)
    body = {"api_key": service.key, "project_id": service.project_id, **event("visit", "ann", properties=WEB)}

    assert (await service.client.post("/e/", json=body)).status_code == 200

    [stored] = (await service.read("/events/"))["results"]
    assert stored["properties"]["$feature/beta-feature"] is True


@pytest.mark.parametrize("token", [None, "phc_unknown"])
async def test_events_without_flags_or_project_stay_unchanged(
    service: Service, enrichment: EnrichmentService, token: str | None
) -> None:
    events = [sent("ann"), Sent("bob", "no json"), Sent("bob", '{"$lib": "web"')]

    properties = await enrichment.enrich(token or service.token, events)

    assert properties == [one.properties for one in events]


async def test_first_page_view_of_a_visit_counts_for_the_variant_of_its_person(service: Service) -> None:
    experiment = await service.create_experiment(filters=TREND)
    people = [f"person {number}" for number in range(20)]
    flags = {person: (await values(service, person))["checkout"] for person in people}

    await service.capture(*(event("$pageview", person, properties={"$lib": "web"}) for person in people))

    results = await service.read(f"/experiments/{experiment['id']}/results/")
    assert {variant["key"]: variant["count"] for variant in results["variants"]} == Counter(flags.values())


async def test_cohorts_are_loaded_once_for_all_persons_of_a_batch(service: Service, database: Database) -> None:
    plan = {"key": "plan", "value": "pro", "type": "person"}
    filters = {"properties": {"type": "AND", "values": [{"type": "AND", "values": [plan]}]}}
    cohort = (await service.post("/cohorts/", {"name": "Payers", "filters": filters})).json()["id"]
    member = {"key": "id", "value": cohort, "type": "cohort"}
    await create_flag(service, filters={"groups": [{"properties": [member]}]})
    known = [event("a", f"p{n}", properties={"$set": {"plan": "pro" if n % 2 else "free"}}) for n in range(300)]
    await service.capture(*known)
    statements: list[str] = []

    def note(*arguments: Any) -> None:
        statements.append(arguments[2])

    for engine in (database.engine, database.reading_engine):
        sqlalchemy_event.listen(engine.sync_engine, "before_cursor_execute", note)
    try:
        await service.capture(*(event("$pageview", f"p{n}", properties=WEB) for n in range(300)))
    finally:
        for engine in (database.engine, database.reading_engine):
            sqlalchemy_event.remove(engine.sync_engine, "before_cursor_execute", note)

    assert sum("FROM cohort" in statement for statement in statements) == 1
    page = (await service.read("/events/", event="$pageview", limit=1000))["results"]
    enabled = {one["distinct_id"] for one in page if one["properties"]["$active_feature_flags"]}
    assert enabled == {f"p{n}" for n in range(1, 300, 2)}


async def test_other_tasks_run_while_the_flags_of_many_persons_are_evaluated(
    enrichment: EnrichmentService, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create_flag(service, filters={**EVERYBODY, "multivariate": HALVES})
    monkeypatch.setattr("app.common.time_slices.perf_counter", itertools.count().__next__)  # each slice is used up
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await enrichment.enrich(service.token, [sent(f"p{n}") for n in range(500)])
    task.cancel()

    assert turns > 3 * 500  # a look at each event, its evaluation, and its text
