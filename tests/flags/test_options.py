"""Options of a flag that decide before its release conditions: holdouts, enrollment, early exit."""

from typing import Any

import pytest

from app.db.database import Database
from app.flags.evaluation.rules import EvaluationContext, evaluate, prepare
from app.flags.filters import JsonDict
from app.flags.holdouts import read_holdout
from tests.flags.evaluation.asking import EVERYBODY, HALVES, ask, create_flag, values
from tests.support.service import Service, event
from tests.support.stored_experiments import flags

pytestmark = pytest.mark.one_database

TENTH: JsonDict = {"id": 1, "exclusion_percentage": 10}
# Of posthog-python 7.91.1: the position of an identifier among all that may be held out.
POSITIONS = {"h0": 0.21203146570237016, "h1": 0.5168422437278368, "h2": 0.9168896514128492, "h3": 0.7441391355397668}
ENROLLED = "$feature_enrollment/beta-feature"
CHOSEN: Any = {"properties": [{"key": ENROLLED, "type": "person", "operator": "exact", "value": ["true"]}]}
NOBODY: dict[str, Any] = {"groups": [{"properties": [], "rollout_percentage": 0}]}


def held(holdout: Any, distinct_id: str, **filters: Any) -> object:
    flag = prepare(flag_id=1, key="any", filters={**EVERYBODY, "holdout": holdout, **filters})
    return evaluate(flag, EvaluationContext(distinct_id)).value


def test_holdout_holds_the_people_whom_sdks_hold() -> None:
    assert sum(held(TENTH, f"h{number}") == "holdout-1" for number in range(300)) == 27
    for distinct_id, position in POSITIONS.items():
        below, above = (position - 1e-9) * 100, (position + 1e-9) * 100
        assert held({"id": 7, "exclusion_percentage": below}, distinct_id) is True
        assert held({"id": 7, "exclusion_percentage": above}, distinct_id) == "holdout-7"


@pytest.mark.parametrize(
    ("holdout", "expected"),
    [
        ({"id": "eu", "exclusion_percentage": 100}, "holdout-eu"),
        ({"id": 3, "exclusion_percentage": 250}, "holdout-3"),
        ({"id": 3, "exclusion_percentage": -1}, True),
        ({"id": 3}, True),
        ({"exclusion_percentage": 100}, True),
        ({"id": 3, "exclusion_percentage": "100"}, True),
        ({}, True),
        ("all", True),
    ],
)
def test_stored_holdout_is_read_as_sdks_read_it(holdout: object, expected: object) -> None:
    assert held(holdout, "h0") == expected


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([{"properties": [], "rollout_percentage": 22, "variant": "holdout-5"}], "holdout-5"),
        ([{"rollout_percentage": 21, "variant": "holdout-5"}], True),
        ([{"rollout_percentage": 100}], "holdout"),
        ([{"variant": "kept out"}], "kept out"),
        ([{"properties": [{"key": "a", "value": 1}], "rollout_percentage": 100, "variant": "holdout-5"}], True),
        ([], True),
    ],
)
def test_older_form_of_a_holdout_is_evaluated_too(groups: list[Any], expected: object) -> None:
    assert held(None, "h0", holdout_groups=groups) == expected


def test_newer_form_of_a_holdout_wins() -> None:
    found = read_holdout({"holdout": TENTH, "holdout_groups": [{"variant": "holdout-5"}]})

    assert found is not None
    assert (found.variant, found.id, found.percentage) == ("holdout-1", "1", 10)


async def test_everything_that_evaluates_flags_honors_a_holdout(service: Service) -> None:
    half: JsonDict = {"id": 2, "exclusion_percentage": 50}
    variants = {"groups": [{"properties": [], "variant": "test"}], "multivariate": HALVES, "payloads": {"test": "1"}}
    await create_flag(service, filters={**variants, "holdout": half})
    await create_flag(service, "companies", filters={**EVERYBODY, "holdout": half, "aggregation_group_type_index": 0})
    await service.capture(event("visit", "x", properties={"$groups": {"company": "h0"}}))
    groups = {"company": "h0"}

    out = await ask(service, distinct_id="h0", groups=groups)
    older = await ask(service, "/decide/?v=3", "h0", groups={"company": "h1"})
    without = await ask(service, "/decide/?v=2", "h1")
    for who in POSITIONS:
        await service.capture(event("$pageview", who, properties={"$lib": "web"}))
    views = (await service.read("/events/", event="$pageview"))["results"]

    assert out["flags"]["beta-feature"]["variant"] == "holdout-2"
    assert out["flags"]["beta-feature"]["metadata"]["payload"] is None
    assert out["flags"]["beta-feature"]["reason"] == {
        "code": "holdout_condition_value",
        "condition_index": None,
        "description": "Holdout condition value",
    }
    assert out["flags"]["companies"]["variant"] == "holdout-2"
    assert older["featureFlags"] == {"beta-feature": "holdout-2", "companies": True}
    assert older["featureFlagPayloads"] == {}
    assert without["featureFlags"] == {"beta-feature": "test"}
    added = {view["distinct_id"]: view["properties"]["$feature/beta-feature"] for view in views}
    assert added == {"h0": "holdout-2", "h1": "test", "h2": "test", "h3": "test"}


@pytest.mark.parametrize("option", [{"super_groups": [CHOSEN]}, {"feature_enrollment": True}])
async def test_choice_of_a_person_decides_before_all_else(service: Service, option: dict[str, Any]) -> None:
    await create_flag(service, filters={**NOBODY, **option, "holdout": {"id": 1, "exclusion_percentage": 30}})
    await service.capture(event("visit", "ann", properties={"$set": {ENROLLED: "true"}}))

    assert await values(service, "ann") == {"beta-feature": True}
    assert await values(service, "ann", person_properties={ENROLLED: "false"}) == {"beta-feature": False}
    assert await values(service, "h0", person_properties={ENROLLED: True}) == {"beta-feature": True}
    assert await values(service, "h0") == {"beta-feature": "holdout-1"}
    assert await values(service, "h1") == {"beta-feature": False}
    chosen = (await ask(service, distinct_id="ann"))["flags"]["beta-feature"]
    assert chosen["reason"]["code"] == "super_condition_value"
    chosen = (await ask(service, distinct_id="ann", person_properties={ENROLLED: "no"}))["flags"]["beta-feature"]
    assert (chosen["enabled"], chosen["reason"]["code"]) == (False, "super_condition_value")


def test_early_exit_ends_at_the_first_condition_whose_percentage_leaves_a_person_out() -> None:
    groups: list[Any] = [{"properties": [], "rollout_percentage": 0}, {"properties": []}]

    def value(**filters: Any) -> object:
        flag = prepare(flag_id=1, key="any", filters={"groups": groups, **filters})
        return evaluate(flag, EvaluationContext("ann")).value

    assert value() is True
    assert value(early_exit=True) is False


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ({"holdout": "all"}, "holdout must be an object"),
        ({"holdout": {"exclusion_percentage": 10}}, "holdout must have an id, a number or a text"),
        ({"holdout": {"id": True, "exclusion_percentage": 1}}, "holdout must have an id, a number or a text"),
        ({"holdout": {"id": 1}}, "holdout must have an exclusion_percentage from 0 to 100"),
        (
            {"holdout": {"id": 1, "exclusion_percentage": 101}},
            "holdout must have an exclusion_percentage from 0 to 100",
        ),
        ({"holdout_groups": {}}, "holdout_groups must be a list of objects"),
        ({"holdout_groups": [{}, {}]}, "at most one of holdout_groups is evaluated"),
        ({"holdout_groups": [{"properties": [CHOSEN]}]}, "holdout_groups cannot have properties"),
        (
            {"holdout_groups": [{"rollout_percentage": "1"}]},
            "holdout_groups must have a rollout_percentage from 0 to 100",
        ),
        ({"holdout_groups": [{"variant": 1}]}, "the variant of holdout_groups must be a text"),
        ({"super_groups": [CHOSEN, CHOSEN]}, "super_groups must be a list of one object"),
        ({"super_groups": [{"properties": []}]}, "super_groups must have properties"),
        ({"super_groups": [{"properties": [{"key": "id", "value": 1, "type": "cohort"}]}]},
         "super_groups can only use person properties"),
        ({"super_groups": [{**CHOSEN, "rollout_percentage": 101}]},
         "rollout_percentage must be a number from 0 to 100"),
        ({"feature_enrollment": "yes"}, "feature_enrollment must be true or false"),
        ({"early_exit": 1}, "early_exit must be true or false"),
        ({"bucketing_identifier": "device_id"}, "bucketing_identifier can only be distinct_id"),
        ({"feature_enrollment": True, "aggregation_group_type_index": 0},
         "a flag of groups cannot have feature_enrollment or super_groups"),
        ({"groups": [{"properties": [], "aggregation_group_type_index": 0}]},
         "aggregation_group_type_index of a condition must be that of the flag"),
    ],
)  # fmt: skip
async def test_option_that_could_not_be_honored_is_refused(
    service: Service, database: Database, option: dict[str, Any], why: str
) -> None:
    response = await service.post("/feature_flags/", {"key": "a", "filters": {**EVERYBODY, **option}})

    assert (response.status_code, response.json()["attr"]) == (400, "filters"), response.text
    assert response.json()["detail"] == f"Filters are not valid ({why})"
    assert not await flags(database, service)
