import asyncio
import json
from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.db.database import Database
from app.flags import filters
from app.properties import validation
from app.properties.filters import Node
from tests.experiments.test_creating import COUNTRY, PERSONS_ONLY
from tests.flags.test_filters import COHORT, EVERYBODY, HALVES
from tests.http.test_http import documents
from tests.support.examples import examples
from tests.support.inputs.documents import patterns_of_classes
from tests.support.service import Json, Service, event
from tests.support.stored_experiments import flags

pytestmark = pytest.mark.one_database

KEY_TAKEN = {
    "type": "validation_error",
    "code": "unique",
    "detail": "There is already a feature flag with this key.",
    "attr": "key",
}


async def created(service: Service, **fields: object) -> Json:
    response = await service.post("/feature_flags/", {"key": "checkout", **fields})
    assert response.status_code == 201, response.text
    return response.json()


async def test_flag_has_the_documented_keys_in_their_order_and_the_documented_defaults(service: Service) -> None:
    me = await service.client.get("/api/users/@me/", headers={"Authorization": f"Bearer {service.key}"})

    flag = await created(service, key=" checkout ")

    expected = {
        "id": flag["id"],
        "name": "",
        "key": "checkout",
        "filters": {"groups": [EVERYBODY]},
        "deleted": False,
        "active": True,
        "created_by": {key: me.json()[key] for key in ("id", "uuid", "distinct_id", "first_name", "email")},
        "created_at": flag["created_at"],
        "is_simple_flag": True,
        "rollout_percentage": None,
        "ensure_experience_continuity": False,
        "experiment_set": [],
        "rollback_conditions": None,
        "performed_rollback": None,
        "can_edit": True,
    }
    assert list(flag.items()) == list(expected.items())
    assert await service.read(f"/feature_flags/{flag['id']}/") == flag


@pytest.mark.each_database
async def test_sent_filters_are_stored_unchanged(service: Service) -> None:
    fields = {
        "name": "Green \u202e button 😀",
        "key": "Grün/checkout-button",
        "filters": {
            "groups": [
                {"properties": [COUNTRY], "rollout_percentage": 12.5, "variant": "test", "mine": [10**400, None]}
            ],
            "multivariate": {**HALVES, "mine": 1.5},
            "payloads": {"test": '{"color":  "green"}', "control": {"deep": [[]]}},
            "": None,
        },
        "deleted": False,
        "active": False,
        "ensure_experience_continuity": True,
    }

    flag = await created(service, **fields)

    assert {name: flag[name] for name in fields} == fields


async def test_read_only_fields_are_ignored(service: Service) -> None:
    sent = {"id": 999, "created_by": 999, "experiment_set": [999], "can_edit": False, "rollout_percentage": 1, "x": []}

    flag = await created(service, **sent)

    assert flag["id"] != 999
    assert flag["created_by"]["email"] == service.email
    assert (flag["experiment_set"], flag["can_edit"], flag["rollout_percentage"]) == ([], True, None)


REQUIRED, NULL = "This field is required.", "This field may not be null."
NO_BOOLEAN = "Must be a valid boolean."


@pytest.mark.parametrize(
    ("body", "code", "detail", "attr"),
    [
        ({}, "required", REQUIRED, "key"),
        ({"key": None}, "null", NULL, "key"),
        ({"key": " "}, "blank", "This field may not be blank.", "key"),
        ({"key": ["a"]}, "invalid_input", "Not a valid string.", "key"),
        ({"key": "a\0"}, "null_characters_not_allowed", "Null characters are not allowed.", "key"),
        ({"key": "x" * 401}, "max_length", "Ensure this field has no more than 400 characters.", "key"),
        ({"name": None}, "null", NULL, "name"),
        ({"name": {}, "key": None}, "invalid_input", "Not a valid string.", "name"),
        ({"key": "a", "filters": None}, "null", NULL, "filters"),
        ({"key": "a", "filters": []}, "invalid_input", "Expected a dictionary of items.", "filters"),
        ({"key": "a", "filters": "{}"}, "invalid_input", "Expected a dictionary of items.", "filters"),
        ({"key": "a", "deleted": "perhaps"}, "invalid_input", NO_BOOLEAN, "deleted"),
        ({"key": "a", "active": None}, "null", NULL, "active"),
        (
            {"key": "a", "ensure_experience_continuity": 2},
            "invalid_input",
            NO_BOOLEAN,
            "ensure_experience_continuity",
        ),
        ({"key": "a", "filters": {"properties": [{"key": "x", "value": 1}]}}, "invalid_input", PERSONS_ONLY, "filters"),
        (
            {"key": "a", "filters": {"groups": [{"properties": [{**COHORT, "value": 555}]}]}},
            "cohort_does_not_exist",
            "Cohort with id 555 does not exist",
            "filters",
        ),
        (
            {"key": "a", "filters": {"groups": [], "multivariate": {"variants": HALVES["variants"][:1]}}},
            "invalid_input",
            "Invalid variant definitions: Variant rollout percentages must sum to 100.",
            None,
        ),
    ],
)
async def test_refused_flag_is_not_stored(
    service: Service, database: Database, body: object, code: str, detail: str, attr: str | None
) -> None:
    response = await service.post("/feature_flags/", body)

    assert response.status_code == 400
    assert response.json() == {"type": "validation_error", "code": code, "detail": detail, "attr": attr}
    assert not await flags(database, service)


async def test_form_holds_filters_as_text_and_leaves_the_rest_as_it_is(service: Service) -> None:
    filters = {"groups": [{"properties": [], "rollout_percentage": 10}]}

    response = await service.request(
        "POST", "/feature_flags/", data={"key": "checkout", "name": "", "filters": json.dumps(filters)}
    )

    flag = response.json()
    assert response.status_code == 201
    assert (flag["name"], flag["filters"], flag["active"], flag["deleted"]) == ("", filters, True, False)


async def test_key_that_a_living_flag_has_is_refused(service: Service) -> None:
    await created(service)
    experiment = {"name": "x", "feature_flag_key": "checkout", "filters": {"insight": "TRENDS"}}

    answers = [
        await service.post("/feature_flags/", {"key": "checkout"}),
        await service.post("/experiments/", experiment),
    ]

    assert [(answer.status_code, answer.json()) for answer in answers] == [
        (400, KEY_TAKEN),
        (400, {**KEY_TAKEN, "attr": "feature_flag_key"}),  # as it was sent
    ]


@pytest.mark.each_database
@pytest.mark.parametrize("key", ["Checkout", "checkout2"])
async def test_keys_differ_by_every_character(service: Service, key: str) -> None:
    await created(service)

    assert (await created(service, key=key))["key"] == key


async def test_key_of_an_experiments_flag_is_taken_until_the_flag_is_deleted(service: Service) -> None:
    experiment = await service.create_experiment()
    refused = await service.post("/feature_flags/", {"key": "checkout"})
    await service.patch(f"/feature_flags/{experiment['feature_flag']}/", {"deleted": True})

    flag = await created(service)

    assert (refused.status_code, refused.json()) == (400, KEY_TAKEN)
    assert flag["experiment_set"] == []
    assert await service.read(f"/experiments/{experiment['id']}/") == experiment
    old = await service.read(f"/feature_flags/{experiment['feature_flag']}/")
    assert (old["key"], old["deleted"], old["experiment_set"]) == ("checkout", True, [experiment["id"]])


async def test_flag_may_be_created_deleted_and_takes_no_key_then(service: Service) -> None:
    deleted = await created(service, deleted=True)
    living = await created(service)
    another = await created(service, deleted=True)

    assert [flag["deleted"] for flag in (deleted, living, another)] == [True, False, True]


@pytest.mark.each_database
@settings(max_examples=examples(30), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.fixed_dictionaries(
        {},
        optional={
            "name": documents,
            "filters": documents
            | st.fixed_dictionaries({"groups": st.lists(documents, max_size=2), "more": documents}),
            "active": documents,
        },
    )
)
async def test_whatever_the_fields_hold_is_kept_or_refused_in_the_one_form(
    service: Service, changes: dict[str, object]
) -> None:
    headers = {"Content-Type": "application/json"}
    content = json.dumps({"key": "checkout", **changes})  # httpx would refuse NaN

    response = await service.request("POST", "/feature_flags/", content=content, headers=headers)

    if response.status_code == 201:
        path = f"/feature_flags/{response.json()['id']}/"
        assert await service.read(path) == response.json()
        assert (await service.patch(path, {"deleted": True})).status_code == 200
        return
    assert response.status_code == 400
    assert list(response.json()) == ["type", "code", "detail", "attr"]
    assert response.json()["attr"] in changes


@pytest.mark.each_database
async def test_participants_may_be_a_cohort_of_the_project(service: Service) -> None:
    cohort = (await service.post("/cohorts/", {"name": "Testers", "is_static": True, "distinct_ids": ["ann"]})).json()
    filters = {"groups": [{"properties": [{"key": "id", "value": cohort["id"], "type": "cohort"}]}]}

    created = await service.post("/feature_flags/", {"key": "testers-only", "filters": filters})
    await service.patch(f"/feature_flags/{created.json()['id']}/", {"deleted": True})
    await service.delete(f"/cohorts/{cohort['id']}/")
    refused = await service.post("/feature_flags/", {"key": "deleted-cohort", "filters": filters})

    assert created.status_code == 201
    assert (refused.status_code, refused.json()["code"]) == (400, "cohort_does_not_exist")


async def test_captures_do_not_wait_while_the_patterns_of_a_flag_are_compiled(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_patterns, captured = validation.compile_patterns, 0

    async def compile_beside_a_capture(trees: Iterable[Node]) -> None:
        nonlocal captured
        if not captured:  # the outcome is cached for the transaction that follows
            await service.capture(event("seen", "ann"))
            captured += 1
        await compile_patterns(trees)

    monkeypatch.setattr(filters, "compile_patterns", compile_beside_a_capture)

    async with asyncio.timeout(30):
        await created(service, filters={"groups": [{"properties": patterns_of_classes(2)}]})

    assert captured == 1
