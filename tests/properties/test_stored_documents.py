"""Every document that users store is refused above its limits, by name and before it is stored."""

import json
from typing import Any

import pytest
from sqlalchemy import update

from app.common import limits
from app.db.database import Database
from app.db.models import Experiment, FeatureFlag, Project
from tests.support.service import FUNNEL, Service

PERSON = {"key": "k", "value": "v", "operator": "exact", "type": "person"}
STEP = {"id": "a", "type": "events"}


def flag(properties: object, **filters: Any) -> tuple[str, str, Any, str]:
    return (
        "POST",
        "/feature_flags/",
        {"key": "f", "filters": {"groups": [{"properties": properties}], **filters}},
        "filters",
    )


def cohort(properties: object) -> tuple[str, str, Any, str]:
    filters = {"properties": {"type": "AND", "values": properties}}
    return "POST", "/cohorts/", {"name": "c", "filters": filters}, "filters"


def older_cohort(properties: object) -> tuple[str, str, Any, str]:
    return "POST", "/cohorts/", {"name": "c", "groups": [{"properties": properties}]}, "groups"


def action(properties: object) -> tuple[str, str, Any, str]:
    return "POST", "/actions/", {"name": "a", "steps": [{"event": "e", "properties": properties}]}, "steps"


def filter_of_test_accounts(properties: object) -> tuple[str, str, Any, str]:
    return "PATCH", "/", {"test_account_filters": properties}, "test_account_filters"


def metric(properties: object) -> tuple[str, str, Any, str]:
    return experiment(filters={"events": [{**STEP, "properties": properties}]})


def secondary_metric(properties: object) -> tuple[str, str, Any, str]:
    return experiment(secondary_metrics=[{"filters": {"events": [{**STEP, "properties": json.dumps(properties)}]}}])


def exposure(properties: object) -> tuple[str, str, Any, str]:
    return experiment(parameters={"custom_exposure_filter": {"events": [{**STEP, "properties": properties}]}})


def experiment(**fields: Any) -> tuple[str, str, Any, str]:
    body = {"name": "e", "feature_flag_key": "e", "filters": FUNNEL, **fields}
    return "POST", "/experiments/", body, next(iter(fields))


KINDS = [flag, cohort, older_cohort, action, filter_of_test_accounts, metric, secondary_metric, exposure]
LARGE = "v" * (limits.DOCUMENT_BYTES.value // 4)


async def refusal(service: Service, method: str, path: str, body: object, attr: str) -> tuple[int, str, str] | None:
    """Return status, code and detail of the refusal of a request, which names a field; None if it is accepted."""
    response = await service.request(method, path, json=body)
    if response.status_code < 400:
        return None
    assert response.json()["attr"].startswith(attr)
    return response.status_code, response.json()["code"], response.json()["detail"]


@pytest.mark.one_database
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("fitting", "exceeding", "limit", "code"),
    [
        ([PERSON] * 200, [PERSON] * 201, limits.CONDITIONS, "too_many_conditions"),
        (
            [{**PERSON, "value": ["v"] * 10_000}],
            [{**PERSON, "value": ["v"] * 10_001}],
            limits.CONDITION_VALUES,
            "too_many_values",
        ),
        (
            [{**PERSON, "operator": "regex", "value": f"{n:0992}"} for n in range(66)],
            [{**PERSON, "operator": "regex", "value": f"{n:01000}"} for n in range(66)],
            limits.PATTERN_BYTES,
            "too_many_patterns",
        ),
        ([{**PERSON, "value": LARGE}] * 3, [{**PERSON, "value": LARGE}] * 4, limits.DOCUMENT_BYTES, "too_large"),
    ],
)
async def test_document_has_limits(
    service: Service, kind: Any, fitting: object, exceeding: object, limit: limits.Limit, code: str
) -> None:
    assert await refusal(service, *kind(exceeding)) == (400, code, limit.detail)
    assert await refusal(service, *kind(fitting)) is None


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("fitting", "exceeding", "limit", "code"),
    [
        (
            experiment(secondary_metrics=[{"filters": FUNNEL}] * 50),
            experiment(secondary_metrics=[{"filters": FUNNEL}] * 51),
            limits.SECONDARY_METRICS,
            "too_many_metrics",
        ),
        (
            experiment(filters={"events": [STEP] * 29, "actions": '[{"id": 1}]', "exclusions": [STEP] * 30}),
            experiment(filters={"events": [STEP] * 30, "actions": '[{"id": 1}]'}),
            limits.FUNNEL_STEPS,
            "too_many_steps",
        ),
        (
            experiment(filters={"events": [STEP], "exclusions": json.dumps([STEP] * 30)}),
            experiment(filters={"events": [STEP], "exclusions": json.dumps([STEP] * 31)}),
            limits.FUNNEL_STEPS,
            "too_many_steps",
        ),
        (
            experiment(filters={**FUNNEL, "x": LARGE}, parameters={"x": LARGE}, secondary_metrics=[LARGE]),
            experiment(filters={**FUNNEL, "x": LARGE * 2}, parameters={"x": LARGE}, secondary_metrics=[LARGE]),
            limits.DOCUMENT_BYTES,
            "too_large",
        ),
        (
            flag([], groups=[{"rollout_percentage": 0}] * 200),
            flag([], groups=[{"rollout_percentage": 0}] * 201),
            limits.CONDITIONS,
            "too_many_conditions",
        ),
        (
            flag([{**PERSON, "operator": "regex", "value": f"{'x{1000}' * 16}{n}"} for n in range(16)]),
            flag([{**PERSON, "operator": "regex", "value": f"{'x{1000}' * 16}{n}"} for n in range(17)]),
            limits.PATTERN_PROGRAMS_BYTES,
            "too_many_patterns",
        ),
    ],
)
async def test_document_has_limits_of_its_kind(
    service: Service, fitting: Any, exceeding: Any, limit: limits.Limit, code: str
) -> None:
    assert await refusal(service, *exceeding) == (400, code, limit.detail)
    assert await refusal(service, *fitting) is None


@pytest.mark.one_database
@pytest.mark.parametrize("kind", KINDS[:5])
async def test_pattern_that_is_too_large_when_compiled_is_refused(service: Service, kind: Any) -> None:
    pattern = r"(\pL|\pN){150}"

    refused = await refusal(service, *kind([{**PERSON, "operator": "regex", "value": pattern}]))

    assert refused is not None
    assert refused[:2] == (400, "invalid_input")
    assert "compiled" in refused[2]


@pytest.mark.one_database
async def test_filters_of_a_query_have_the_limits_of_stored_ones(service: Service) -> None:
    def query(properties: object) -> dict[str, str]:
        return {"events": json.dumps([{"id": "a", "properties": properties}])}

    path = "/experiments/requires_flag_implementation/"

    assert (await service.get(path, **query([PERSON] * 200))).status_code == 200
    assert (await service.get(path, **query([PERSON] * 201))).json()["code"] == "too_many_conditions"
    assert (await service.get(path, events=json.dumps([STEP] * 31))).json()["code"] == "too_many_steps"


async def test_conditions_are_not_copied_into_more_steps_than_a_metric_may_have(service: Service) -> None:
    steps = [{"event": f"e{n}"} for n in range(100)]
    number = (await service.post("/actions/", {"name": "a", "steps": steps})).json()["id"]
    events = [{"id": number, "type": "actions", "properties": [{**PERSON, "key": f"{n}"} for n in range(10)]}]
    fits = await service.create_experiment(feature_flag_key="fits", filters={**FUNNEL, "events": [], "actions": events})
    events[0]["properties"].append(PERSON)
    large = await service.create_experiment(
        feature_flag_key="is-large", filters={**FUNNEL, "events": [], "actions": events}
    )

    assert (await service.get(f"/experiments/{fits['id']}/results/")).json()["code"] == "no_data"
    refused = (await service.get(f"/experiments/{large['id']}/results/")).json()
    assert (refused["code"], refused["detail"]) == ("too_many_conditions", limits.ALTERNATIVES.detail)


@pytest.mark.one_database
async def test_older_documents_above_a_limit_are_read_and_may_become_smaller(
    service: Service, database: Database
) -> None:
    created = await service.create_experiment(end_date=None)
    many = [{**PERSON, "key": f"k{n}"} for n in range(300)]
    async with database.write() as session:
        await session.execute(
            update(Experiment)
            .where(Experiment.project_id == service.project_id)
            .values(secondary_metrics=[{"filters": {**FUNNEL, "x": "v" * 5_000}}] * 60)
        )
        await session.execute(
            update(FeatureFlag)
            .where(FeatureFlag.project_id == service.project_id)
            .values(
                filters={
                    **(await service.read(f"/feature_flags/{created['feature_flag']}/"))["filters"],
                    "groups": [{"properties": many}, {"properties": []}],
                }
            )
        )
        await session.execute(update(Project).where(Project.id == service.project_id).values(test_account_filters=many))
    path = f"/experiments/{created['id']}/"

    shown = await service.read(path)
    assert len(shown["secondary_metrics"]) == 60
    assert (await service.patch(path, {"description": "d"})).status_code == 200
    assert (await service.patch(path, {"secondary_metrics": shown["secondary_metrics"]})).status_code == 400
    assert (await service.post(f"{path}duplicate/", {})).json()["code"] == "too_many_metrics"
    evaluated = await service.client.post("/flags/?v=2", json={"token": service.token, "distinct_id": "x"})
    assert evaluated.json()["flags"]["checkout"]["enabled"] is True
    assert (await service.patch(path, {"filters": {**FUNNEL, "x": 1}})).json()["code"] == "too_large"
    assert (await service.patch(path, {"secondary_metrics": []})).status_code == 200
    assert (await service.patch(path, {"filters": {**FUNNEL, "filter_test_accounts": True}})).status_code == 200
    refused = await service.get(f"{path}results/")
    assert (refused.status_code, refused.json()["code"]) == (400, "too_many_conditions")
