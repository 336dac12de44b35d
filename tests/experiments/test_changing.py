import asyncio

import pytest

from app.db.database import Database
from tests.experiments.test_creating import COUNTRY, DEFAULT_VARIANTS, GROUP, PERSONS_ONLY
from tests.support.service import FUNNEL, TREND, Json, Service
from tests.support.stored_experiments import only_flag

pytestmark = pytest.mark.one_database

SPLIT = {"feature_flag_variants": DEFAULT_VARIANTS}
PLAN = {"key": "plan", "type": "person", "value": ["pro"]}
OTHER_VARIANTS = "Can't update feature_flag_variants on Experiment"


async def patched(service: Service, experiment: Json, **changes: object) -> Json:
    response = await service.patch(f"/experiments/{experiment['id']}/", changes)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "New name", "description": ""},
        {"description": None, "archived": True},
        {"start_date": None, "end_date": "2022-12-01T00:00:00.500000Z"},
        {"start_date": "2022-12-01T00:00:00Z", "end_date": "2022-11-01T00:00:00Z"},
        {"parameters": {"recommended_sample_size": 1500}},
        {"parameters": None, "secondary_metrics": None},
        {"parameters": [], "secondary_metrics": [{"name": "Views", "filters": TREND}]},
        {"filters": TREND},
        {"filters": {}},
        {},
    ],
)
async def test_update_replaces_sent_fields_only(service: Service, changes: dict[str, object]) -> None:
    before = await service.create_experiment(parameters={**SPLIT, "minimum_detectable_effect": 5})

    after = await patched(service, before, **changes)

    status = "draft" if after["start_date"] is None else "stopped"
    changed = {name: after[name] for name in ("updated_at", "allowed_actions")}
    assert after == {**before, **changes, **changed, "status": status}
    assert after["updated_at"] > before["updated_at"]
    assert await service.read(f"/experiments/{before['id']}/") == after


async def test_first_start_launches(service: Service, database: Database) -> None:
    draft = await service.create_experiment(start_date=None, end_date=None)

    await patched(service, draft, start_date="2022-11-01T00:00:00Z")

    assert (await only_flag(database, service))["active"] is True


@pytest.mark.parametrize(
    "changes",
    [
        {"end_date": "2022-11-10T00:00:00Z"},
        {"archived": True},
        {"start_date": None},
        {"start_date": "2022-11-03T00:00Z"},
    ],
)
async def test_ending_archiving_and_moving_the_start_leave_the_flag_alone(
    service: Service, database: Database, changes: dict[str, object]
) -> None:
    experiment = await service.create_experiment()
    before = await only_flag(database, service)

    await patched(service, experiment, **changes)

    assert await only_flag(database, service) == before


@pytest.mark.parametrize(
    ("filters", "groups", "index"),
    [
        ({**TREND, "properties": [COUNTRY]}, [{"properties": [COUNTRY]}], None),
        ({**TREND, "properties": []}, [{"properties": []}], None),
        ({**TREND, "properties": None}, [{"properties": [COUNTRY, PLAN], "rollout_percentage": None}], None),
        (TREND, [{"properties": [COUNTRY, PLAN], "rollout_percentage": None}], None),
        (
            {**TREND, "properties": [GROUP], "aggregation_group_type_index": 0},
            [{"properties": [GROUP]}],
            0,
        ),
    ],
)
async def test_changed_filters_rewrite_the_participants_and_keep_the_split(
    service: Service, database: Database, filters: dict[str, object], groups: object, index: int | None
) -> None:
    experiment = await service.create_experiment(filters={**FUNNEL, "properties": [COUNTRY, PLAN]})

    await patched(service, experiment, filters=filters)

    assert (await only_flag(database, service))["filters"] == {
        "groups": groups,
        "multivariate": {"variants": DEFAULT_VARIANTS},
        "aggregation_group_type_index": index,
    }


RAMPED = [{"properties": [COUNTRY], "rollout_percentage": 5}]
STEPS = [*RAMPED, {"properties": [], "rollout_percentage": 1, "variant": "test"}]


@pytest.mark.parametrize(
    ("at_first", "stored", "sent"),
    [
        ([COUNTRY], RAMPED, [COUNTRY]),
        ([COUNTRY], STEPS, [COUNTRY]),
        ([COUNTRY], RAMPED, [{**COUNTRY, "operator": "exact", "negation": False}]),
        ([], RAMPED, []),
        (None, [{"properties": [], "rollout_percentage": 5}], []),
        (None, [{"rollout_percentage": 5}], []),
    ],
)
async def test_rollout_stays_while_the_participants_stay(
    service: Service, database: Database, at_first: object, stored: list[object], sent: list[object]
) -> None:
    experiment = await service.create_experiment(filters={**FUNNEL, "properties": at_first})
    flag = await only_flag(database, service)
    response = await service.patch(f"/feature_flags/{flag['id']}/", {"filters": {**flag["filters"], "groups": stored}})
    assert response.status_code == 200, response.text

    await patched(service, experiment, filters={**TREND, "properties": sent})

    assert (await only_flag(database, service))["filters"]["groups"] == stored


async def test_empty_filters_do_not_touch_the_flag(service: Service, database: Database) -> None:
    experiment = await service.create_experiment(filters={**FUNNEL, "properties": [COUNTRY]})
    before = await only_flag(database, service)

    await patched(service, experiment, filters={})

    assert await only_flag(database, service) == before


async def test_group_participants_need_their_aggregation(service: Service) -> None:
    filters = {**FUNNEL, "properties": [GROUP], "aggregation_group_type_index": 0}
    experiment = await service.create_experiment(filters=filters)

    response = await service.patch(f"/experiments/{experiment['id']}/", {"filters": FUNNEL})

    assert response.status_code == 400
    assert response.json()["detail"] == PERSONS_ONLY


@pytest.mark.parametrize(
    "variants",
    [
        list(reversed(DEFAULT_VARIANTS)),
        [{"key": "control", "rollout_percentage": 50}, {"key": "test", "name": "Big", "rollout_percentage": 50.0}],
    ],
)
async def test_same_split_may_be_sent_again_with_other_names_and_order(
    service: Service, database: Database, variants: list[object]
) -> None:
    experiment = await service.create_experiment()

    after = await patched(service, experiment, parameters={"feature_flag_variants": variants})

    assert after["parameters"] == {"feature_flag_variants": variants}
    assert (await only_flag(database, service))["filters"]["multivariate"] == {"variants": DEFAULT_VARIANTS}


@pytest.mark.parametrize(
    "variants",
    [
        [],
        [{"key": "control", "rollout_percentage": 100}],
        [{"key": "control", "rollout_percentage": 50}, {"key": "other", "rollout_percentage": 50}],
        [{"key": "control", "rollout_percentage": 40}, {"key": "test", "rollout_percentage": 60}],
        [*DEFAULT_VARIANTS, {"key": "third", "rollout_percentage": 0}],
    ],
)
@pytest.mark.parametrize("start_date", [None, "2022-11-01T00:00:00Z"])
async def test_another_split_is_refused(service: Service, start_date: str | None, variants: list[object]) -> None:
    experiment = await service.create_experiment(start_date=start_date)

    response = await service.patch(
        f"/experiments/{experiment['id']}/", {"parameters": {"feature_flag_variants": variants}}
    )

    assert response.status_code == 400
    assert response.json() == {
        "type": "validation_error",
        "code": "invalid_input",
        "detail": OTHER_VARIANTS,
        "attr": None,
    }


async def test_same_key_may_be_sent_again(service: Service) -> None:
    experiment = await service.create_experiment()

    assert (await patched(service, experiment, feature_flag_key=" checkout "))["feature_flag_key"] == "checkout"


@pytest.mark.parametrize(
    ("changes", "code", "detail", "attr"),
    [
        (
            {"feature_flag_key": "other"},
            "invalid_input",
            "Can't update keys: feature_flag_key on Experiment",
            None,
        ),
        ({"name": None}, "null", "This field may not be null.", "name"),
        ({"parameters": {"feature_flag_variants": []}}, "invalid_input", OTHER_VARIANTS, None),
        ({"filters": []}, "invalid_input", "Expected a dictionary of items.", "filters"),
        ({"filters": ""}, "invalid_input", "Expected a dictionary of items.", "filters"),
        (
            {"filters": {"properties": [{"key": "plan", "value": 1, "type": "event"}]}},
            "invalid_input",
            PERSONS_ONLY,
            "filters",
        ),
    ],
)
async def test_refused_change_changes_nothing(
    service: Service, database: Database, changes: dict[str, object], code: str, detail: str, attr: str | None
) -> None:
    experiment = await service.create_experiment(start_date=None)
    flag = await only_flag(database, service)

    # The other fields are good: they must not be stored either.
    body = {"description": "New", "start_date": "2022-11-02T00:00:00Z", **changes}
    response = await service.patch(f"/experiments/{experiment['id']}/", body)

    assert response.status_code == 400
    assert response.json() == {"type": "validation_error", "code": code, "detail": detail, "attr": attr}
    assert await service.read(f"/experiments/{experiment['id']}/") == experiment
    assert await only_flag(database, service) == flag


# The rules that look at the stored experiment, first to last; each body breaks its rule and those after it.
RULES_IN_ORDER: list[tuple[dict[str, object], str]] = [
    ({"feature_flag_key": "other"}, "Can't update keys: feature_flag_key on Experiment"),
    ({"parameters": {"feature_flag_variants": []}}, OTHER_VARIANTS),
    ({"filters": {"properties": [GROUP]}}, PERSONS_ONLY),
]


@pytest.mark.parametrize("first", range(len(RULES_IN_ORDER)))
async def test_rules_of_a_change_are_checked_in_their_order(service: Service, first: int) -> None:
    experiment = await service.create_experiment()
    body = {name: value for fault, _ in RULES_IN_ORDER[first:] for name, value in fault.items()}

    response = await service.patch(f"/experiments/{experiment['id']}/", body)

    assert response.json()["detail"] == RULES_IN_ORDER[first][1]


async def test_put_needs_name_and_key_and_keeps_what_it_leaves_out(service: Service) -> None:
    before = await service.create_experiment(description="Kept", archived=True)
    path = f"/experiments/{before['id']}/"

    without_name = await service.request("PUT", path, json={"feature_flag_key": "checkout"})
    without_key = await service.request("PUT", path, json={"name": "New"})
    other_key = await service.request("PUT", path, json={"name": "New", "feature_flag_key": "other"})
    after = await service.request("PUT", path, json={"name": "New", "feature_flag_key": "checkout"})

    assert (without_name.json()["code"], without_name.json()["attr"]) == ("required", "name")
    assert (without_key.json()["code"], without_key.json()["attr"]) == ("required", "feature_flag_key")
    assert other_key.json()["detail"] == "Can't update keys: feature_flag_key on Experiment"
    assert after.status_code == 200
    assert after.json() == {**before, "name": "New", "updated_at": after.json()["updated_at"]}


async def test_change_can_be_bound_to_the_state_it_was_made_for(service: Service) -> None:
    created = await service.post("/experiments/", {"name": "A", "feature_flag_key": "checkout", "filters": FUNNEL})
    path = f"/experiments/{created.json()['id']}/"
    tag = (await service.get(path)).headers["ETag"]

    async def change(if_match: str, name: str) -> tuple[int, Json]:
        response = await service.request("PATCH", path, json={"name": name}, headers={"If-Match": if_match})
        return response.status_code, response.json()

    assert created.headers["ETag"] == tag
    assert (await change(tag, "B"))[0] == 200
    assert await change(tag, "C") == (
        412,
        {
            "type": "invalid_request",
            "code": "precondition_failed",
            "detail": "The object has changed since it was read: read it again.",
            "attr": None,
        },
    )
    assert (await service.read(path))["name"] == "B"
    assert (await change(f"W/{tag}, nonsense", "C"))[0] == 412
    assert (await change("*", "C"))[0] == 200
    assert (await service.patch(path, {"name": "D"})).status_code == 200
    assert (await service.request("DELETE", path, headers={"If-Match": tag})).status_code == 412
    current = (await service.get(path)).headers["ETag"]
    assert (await service.request("DELETE", path, headers={"If-Match": f'"other", {current}'})).status_code == 204


@pytest.mark.each_database
async def test_one_of_simultaneous_changes_succeeds(service: Service) -> None:
    experiment = await service.create_experiment()
    path = f"/experiments/{experiment['id']}/"
    tag = (await service.get(path)).headers["ETag"]

    responses = await asyncio.gather(
        *(service.request("PATCH", path, json={"name": f"{n}"}, headers={"If-Match": tag}) for n in range(4))
    )

    assert sorted(response.status_code for response in responses) == [200, 412, 412, 412]
