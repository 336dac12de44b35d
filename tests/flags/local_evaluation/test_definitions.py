"""The definitions that server-side SDKs fetch for local evaluation."""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from pydantic import JsonValue

from app.accounts.projects.service import AccountService
from app.db.database import Database
from app.flags.filters import JsonDict
from app.flags.local_evaluation.cohorts import criteria_for_evaluators
from app.flags.local_evaluation.documents import cohort_ids, definition
from app.flags.local_evaluation.evaluators import must_ask
from tests.flags.evaluation.asking import COUNTRY, EVERYBODY, HALVES, create_flag
from tests.support.service import Service, event

pytestmark = pytest.mark.one_database

COHORT: JsonDict = {"key": "id", "value": 3, "type": "cohort"}
AGE: JsonDict = {"key": "age", "value": 7, "operator": "gt", "type": "person"}
NOT_SET: JsonDict = {"key": "email", "operator": "is_not_set", "type": "person", "negation": True}
IS_SET: JsonDict = {"key": "email", "operator": "is_set", "type": "person"}
PAID: JsonDict = {"key": "plan", "value": "paid", "operator": "exact", "type": "person"}
PATHS = [
    "/flags/definitions",
    "/flags/definitions/",
    "/api/feature_flag/local_evaluation",
    "/api/feature_flag/local_evaluation/",
]


async def fetch(service: Service, path: str, key: str | None = None, **headers: str) -> httpx.Response:
    authorization = {"Authorization": f"Bearer {key or service.key}"}
    return await service.client.get(path, headers={**authorization, **headers})


@pytest.mark.parametrize("path", PATHS)
async def test_definitions_are_those_of_all_flags_that_are_not_deleted(service: Service, path: str) -> None:
    filters = {
        "groups": [{"properties": [COUNTRY], "rollout_percentage": 50}, {"properties": [], "variant": "test"}],
        "multivariate": HALVES,
        "payloads": {"test": "1"},
    }
    first = await create_flag(service, name="Green button", filters=filters, ensure_experience_continuity=True)
    second = await create_flag(service, "inactive", active=False)
    await create_flag(service, "deleted", deleted=True)

    response = await fetch(service, f"{path}?token={service.token}&send_cohorts")

    assert response.status_code == 200
    assert response.json() == {
        "flags": [
            {
                "id": first["id"],
                "name": "Green button",
                "key": "beta-feature",
                "filters": {
                    "groups": [
                        {"properties": [], "rollout_percentage": None, "variant": "test"},  # tried first
                        {"properties": [COUNTRY], "rollout_percentage": 50, "variant": None},
                    ],
                    "multivariate": HALVES,
                    "payloads": {"test": "1"},
                    "aggregation_group_type_index": None,
                },
                "deleted": False,
                "active": True,
                "ensure_experience_continuity": True,
            },
            {
                "id": second["id"],
                "name": "",
                "key": "inactive",
                "filters": {
                    "groups": [{"properties": [], "rollout_percentage": None, "variant": None}],
                    "multivariate": None,
                    "payloads": {},
                    "aggregation_group_type_index": None,
                },
                "deleted": False,
                "active": False,
                "ensure_experience_continuity": False,
            },
        ],
        "group_type_mapping": {},
        "cohorts": {},
        "property_matching_version": 2,
    }


async def test_project_can_be_named_by_its_address_its_token_or_not_at_all(service: Service) -> None:
    await create_flag(service)

    by_path = await fetch(service, f"{service.project}/feature_flags/local_evaluation")
    by_token = await fetch(service, f"/flags/definitions?token={service.token}")
    by_user = await fetch(service, "/flags/definitions")

    assert by_path.json()["flags"][0]["key"] == "beta-feature"
    assert by_path.json() == by_token.json() == by_user.json()


@pytest.mark.parametrize("path", PATHS)
async def test_definitions_take_a_personal_key(service: Service, path: str) -> None:
    stranger = await fetch(service, f"{path}?token={service.token}", key="phx_unknown")
    public = await fetch(service, f"{path}?token={service.token}", key=service.token)
    in_query = await service.client.get(f"{path}?token={service.token}&personal_api_key={service.key}")
    without = await service.client.get(f"{path}?token={service.token}")

    assert [one.status_code for one in (stranger, public, in_query, without)] == [401, 401, 200, 401]
    assert stranger.json()["detail"] == "Personal API key found in request Authorization header is invalid."


@pytest.mark.parametrize(("token", "status"), [("phc_unknown", 401), ("%00", 400), ("%ED%A0%80", 401)])
async def test_token_that_no_project_has_is_refused(service: Service, token: str, status: int) -> None:
    assert (await fetch(service, f"/flags/definitions?token={token}")).status_code == status


async def test_key_opens_nothing_of_other_organizations(service: Service, database: Database) -> None:
    async with database.write() as session:
        made = await AccountService(session).set_up_project(
            name="Other shop", email="eve@example.com", organization_name="Other", timezone="UTC"
        )
    token, project_id = made.project.api_token, made.project.id
    as_a_token = {"api_key": service.key, "project_id": project_id, **event("visit", "ann")}

    for path, theirs, unknown in (
        ("/flags/definitions?token={}", token, "phc_unknown"),
        ("/api/projects/{}/feature_flags/local_evaluation", project_id, 2_000_000_000),
        ("/api/projects/@current/feature_flags/checkout/remote_config?token={}", token, "phc_unknown"),
    ):
        closed, missing = await fetch(service, path.format(theirs)), await fetch(service, path.format(unknown))
        assert closed.status_code in {401, 404}, path
        assert (closed.status_code, closed.json()) == (missing.status_code, missing.json())
    for path in ("/batch/", "/flags/", "/decide/"):
        assert (await service.client.post(path, json=as_a_token)).status_code == 401, path


async def test_known_state_is_not_sent_again(service: Service) -> None:
    flag = await create_flag(service)
    path = f"/flags/definitions?token={service.token}"
    tag = (await fetch(service, path)).headers["ETag"]

    same = await fetch(service, path, **{"If-None-Match": tag})
    weak = await fetch(service, path, **{"If-None-Match": f'"other", W/{tag}'})
    await service.patch(f"/feature_flags/{flag['id']}/", {"active": False})
    changed = await fetch(service, path, **{"If-None-Match": tag})

    assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", tag)
    assert weak.status_code == 304
    assert changed.status_code == 200
    assert changed.headers["ETag"] != tag


def properties(cohorts: dict[int, Any], *conditions: JsonDict) -> Any:
    """Return the properties of a flag's one condition as an SDK gets them."""
    filters: Any = documented({"groups": [{"properties": list(conditions)}]}, cohorts)["filters"]
    return filters["groups"][0]["properties"]


def documented(filters: JsonDict, cohorts: Mapping[int, Any] | None = None, *, is_compared: bool = True) -> JsonDict:
    """Return a flag's definition as an SDK gets it."""
    return definition(
        flag_id=1,
        name="",
        key="beta-feature",
        filters=filters,
        active=True,
        deleted=False,
        ensure_experience_continuity=False,
        cohorts=cohorts or {},
        is_compared=is_compared,
    )


@pytest.mark.parametrize(
    ("cohort", "expected"),
    [
        ({"type": "AND", "values": [AGE, NOT_SET]}, [AGE, IS_SET]),
        ({"type": "AND", "values": [{"type": "AND", "values": [AGE]}]}, [AGE]),
        ({"type": "OR", "values": [COUNTRY]}, [COHORT]),
        ({"type": "AND", "values": [{"type": "OR", "values": [COUNTRY]}]}, [COHORT]),
        ({"type": "AND", "values": [{"key": "id", "value": 4, "type": "cohort"}]}, [COHORT]),
        ({"type": "AND", "values": []}, [COHORT]),
        (None, [COHORT]),
    ],
)
def test_cohort_of_properties_that_must_all_hold_is_written_out(cohort: object, expected: list[JsonDict]) -> None:
    assert properties({3: cohort}, COHORT) == expected
    assert properties({3: cohort}, COHORT, PAID) == [*expected, PAID]


def test_opposite_of_a_cohort_is_not_written_out() -> None:
    opposite: JsonDict = {**COHORT, "operator": "not_in"}
    cohorts: dict[int, object] = {3: {"type": "AND", "values": [COUNTRY]}}

    assert properties(cohorts, opposite) == [opposite]
    assert properties(cohorts, {**COHORT, "negation": True}) == [opposite]


def test_negation_is_written_as_the_opposite_operator_because_sdks_ignore_it() -> None:
    assert properties({}, {**COUNTRY, "operator": "is_not", "negation": True}) == [COUNTRY]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ({**COUNTRY, "negation": True}, {**COUNTRY, "negation": True}),
        ({**AGE, "negation": True}, {**AGE, "negation": True}),
        (COHORT, {**COHORT, "operator": "in", "negation": False}),
        ({**COHORT, "operator": "not_in"}, {**COHORT, "operator": "in", "negation": True}),
        ({**COHORT, "operator": "not_in", "negation": True}, {**COHORT, "operator": "in", "negation": False}),
        ({**COUNTRY, "operator": "icontains", "value": ["a", "b"]}, None),
    ],
)
def test_exclusions_inside_cohorts_are_written_as_negations(written: JsonDict, read: JsonDict | None) -> None:
    assert criteria_for_evaluators({"type": "OR", "values": [{"type": "AND", "values": [written]}]}) == (
        {"type": "OR", "values": [{"type": "AND", "values": [read]}]} if read else None
    )


PYTHON, NODE = "posthog-python/7.91.1", "posthog-node/5.70.0"


@pytest.mark.parametrize("agent", [PYTHON, NODE, "posthog-node/6.0.1"])
async def test_current_evaluators_get_options_to_evaluate(service: Service, agent: str) -> None:
    holdout = {"id": 1, "exclusion_percentage": 10}
    await create_flag(service, filters={**EVERYBODY, "holdout": holdout, "early_exit": True})
    await create_flag(service, "older", filters={**EVERYBODY, "holdout_groups": [{"variant": "holdout-2"}]})
    await create_flag(service, "choice", filters={**EVERYBODY, "feature_enrollment": True})

    flags = (await fetch(service, PATHS[0], **{"User-Agent": agent})).json()["flags"]

    assert [flag["ensure_experience_continuity"] for flag in flags] == [False, False, True]
    assert flags[0]["filters"]["holdout"] == {"id": "1", "exclusion_percentage": 10}
    assert flags[1]["filters"]["holdout"] == {"id": "2", "exclusion_percentage": 100}


@pytest.mark.parametrize("agent", ["posthog-python/6.9.3", "posthog-node/5.69.9", "posthog-go/9.0.0", "", "x" * 9])
async def test_evaluators_that_know_fewer_options_ask_the_server(service: Service, agent: str) -> None:
    await create_flag(service, filters={**EVERYBODY, "holdout": {"id": 1, "exclusion_percentage": 10}})
    await create_flag(service, "early", filters={**EVERYBODY, "early_exit": True})
    await create_flag(service, "plain", filters={**EVERYBODY, "holdout": None})

    response = await fetch(service, PATHS[0], **{"User-Agent": agent})

    asks = {flag["key"]: flag["ensure_experience_continuity"] for flag in response.json()["flags"]}
    assert asks == {"beta-feature": True, "early": True, "plain": False}
    assert "User-Agent" in response.headers["Vary"]


def test_negated_condition_is_written_without_its_negation_or_left_to_the_server() -> None:
    def asks(condition: JsonDict) -> bool:
        return must_ask({"groups": [{"properties": [condition]}]}, is_compared=True)

    negated: JsonDict = {**COUNTRY, "negation": True}
    assert properties({}, negated) == [{**COUNTRY, "operator": "is_not"}]
    assert not asks(negated)
    assert asks({**AGE, "negation": True})
    assert asks({**COUNTRY, "operator": "icontains", "value": ["a", "b"]})
    assert asks({**COUNTRY, "value": []})
    assert asks({**COUNTRY, "operator": "sounds_like"})
    assert asks({"key": "other", "type": "flag", "operator": "flag_evaluates_to", "value": True})


def test_evaluators_ask_where_they_could_pass_over_a_condition_that_decides() -> None:
    def asks(condition: JsonDict, *, variant: str | None = "test", is_compared: bool = True, **options: bool) -> object:
        groups: list[JsonValue] = [{"properties": [condition], "variant": variant}, {"properties": []}]
        filters: JsonDict = {"groups": groups, **options}
        return documented(filters, is_compared=is_compared)["ensure_experience_continuity"]

    negated: JsonDict = {**COUNTRY, "negation": True}
    version: JsonDict = {"key": "version", "type": "person", "operator": "semver_gt", "value": "1.2.3"}
    on_day: JsonDict = {"key": "since", "type": "person", "operator": "is_date_exact", "value": "2022-11-01"}
    assert not asks({**COUNTRY})
    assert not asks(negated)
    at_least: JsonDict = {**AGE, "operator": "min"}
    assert not asks(at_least)  # evaluators know it as `gte`
    assert asks(COHORT)
    assert not asks(version)
    assert asks(version, is_compared=False)
    assert asks(on_day)
    assert not asks(on_day, variant=None)  # whichever condition matches, the result is the same
    assert asks(on_day, variant=None, early_exit=True)


def test_cohorts_are_found_where_conditions_name_them() -> None:
    assert cohort_ids([{"groups": [{"properties": [COHORT, PAID, {**COHORT, "value": "x"}]}]}, EVERYBODY]) == {3}
