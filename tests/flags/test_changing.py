import asyncio

import pytest

from tests.experiments.test_creating import COUNTRY, DEFAULT_VARIANTS, GROUP, PERSONS_ONLY
from tests.flags.test_creating import KEY_TAKEN, created
from tests.flags.test_filters import EVERYBODY, HALVES, NO_OVERRIDE
from tests.support.service import Json, Service, event

pytestmark = pytest.mark.one_database

UNEVEN = {"variants": [{"key": "control", "rollout_percentage": 50}, {"key": "test", "rollout_percentage": 20}]}


def path_of(flag: Json) -> str:
    return f"/feature_flags/{flag['id']}/"


async def patched(service: Service, flag: Json, **changes: object) -> Json:
    response = await service.patch(path_of(flag), changes)
    assert response.status_code == 200, response.text
    return response.json()


CHANGES = [
    {"name": "New name"},
    {"name": ""},
    {"key": "other"},
    {"active": False, "ensure_experience_continuity": True},
    {"deleted": True},
    {"filters": {"groups": [{"properties": [COUNTRY]}, EVERYBODY], "payloads": {"true": "5"}}},
    {"filters": {"groups": [], "multivariate": UNEVEN}},
    {},
]


@pytest.mark.parametrize("changes", CHANGES)
async def test_update_replaces_sent_fields_only(service: Service, changes: dict[str, object]) -> None:
    before = await created(
        service, name="Old name", filters={"groups": [{"properties": [COUNTRY]}], "multivariate": HALVES}
    )

    after = await patched(service, before, **changes)

    assert after == {**before, **changes, "is_simple_flag": after["is_simple_flag"]}
    assert await service.read(path_of(before)) == after


async def test_put_needs_the_key_and_else_is_a_patch(service: Service) -> None:
    before = await created(service, name="Old name", filters={"groups": [{"rollout_percentage": 10}]})

    refused = await service.request("PUT", path_of(before), json={"name": "New name"})
    response = await service.request("PUT", path_of(before), json={"key": "checkout", "name": "New name"})

    assert (refused.status_code, refused.json()["code"], refused.json()["attr"]) == (400, "required", "key")
    assert (response.status_code, response.json()) == (200, {**before, "name": "New name"})


async def test_whole_object_may_be_sent_back(service: Service) -> None:
    experiment = await service.create_experiment()
    flag = await service.read(f"/feature_flags/{experiment['feature_flag']}/")

    responses = [await service.request(method, path_of(flag), json=flag) for method in ("PUT", "PATCH")]

    for response in responses:
        assert response.status_code == 200
        assert {name: value for name, value in response.json().items() if name != "warnings"} == flag


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("filters", [{}, {"multivariate": None}, {"properties": 5}])
async def test_filters_without_groups_are_ignored(service: Service, method: str, filters: object) -> None:
    before = await created(service, filters={"groups": [], "multivariate": HALVES})

    response = await service.request(method, path_of(before), json={"key": "checkout", "filters": filters})

    assert response.status_code == 200
    assert {name: value for name, value in response.json().items() if name != "warnings"} == before


@pytest.mark.parametrize(
    ("filters", "detail"),
    [
        ({"groups": [{"properties": [GROUP]}]}, PERSONS_ONLY),
        ({"groups": [{"variant": "test"}]}, NO_OVERRIDE),
        ({"groups": None}, "Filters are not valid (groups must be a list of objects)"),
    ],
)
async def test_refused_change_changes_nothing(service: Service, filters: object, detail: str) -> None:
    before = await created(service, filters={"groups": [], "multivariate": HALVES})

    response = await service.patch(path_of(before), {"name": "New", "active": False, "filters": filters})

    assert response.status_code == 400
    assert response.json() == {"type": "validation_error", "code": "invalid_input", "detail": detail, "attr": "filters"}
    assert await service.read(path_of(before)) == before


@pytest.mark.each_database
@pytest.mark.parametrize(
    ("is_deleted", "changes", "status"),
    [
        (False, {"key": "taken"}, 400),
        (False, {"key": " taken "}, 400),
        (False, {"key": "Taken"}, 200),
        (False, {"key": "checkout"}, 200),
        (False, {"key": "taken", "deleted": True}, 200),
        (True, {"deleted": False}, 200),
        (True, {"deleted": False, "key": "taken"}, 400),
        (True, {"key": "taken"}, 200),
    ],
)
async def test_key_is_unique_among_living_flags(
    service: Service, *, is_deleted: bool, changes: dict[str, object], status: int
) -> None:
    await created(service, key="taken")
    flag = await created(service, deleted=is_deleted)

    response = await service.patch(path_of(flag), changes)

    assert response.status_code == status
    if status == 400:
        assert response.json() == KEY_TAKEN
        assert await service.read(path_of(flag)) == flag


async def test_deleted_flag_comes_back_unless_its_key_was_taken(service: Service) -> None:
    first = await created(service)
    await patched(service, first, deleted=True)
    second = await created(service)

    refused = await service.patch(path_of(first), {"deleted": False})
    await patched(service, second, deleted=True)

    assert (refused.status_code, refused.json()) == (400, KEY_TAKEN)
    assert await patched(service, first, deleted=False) == first


async def test_deletion_by_method_is_refused_without_a_body(service: Service) -> None:
    flag = await created(service)

    for address in (path_of(flag), "/feature_flags/999/", "/feature_flags/one"):
        response = await service.delete(address)
        assert (response.status_code, response.content) == (405, b"")
        assert response.headers["Allow"] == "GET, PUT, PATCH, HEAD, OPTIONS"
    assert await service.read(path_of(flag)) == flag


async def test_experiment_outlives_the_deletion_of_its_flag(service: Service) -> None:
    experiment = await service.create_experiment()
    flag = await service.read(f"/feature_flags/{experiment['feature_flag']}/")

    deleted = await patched(service, flag, deleted=True)

    assert deleted == {**flag, "deleted": True}
    assert await service.read(f"/experiments/{experiment['id']}/") == experiment


async def test_flag_of_an_experiment_shows_it_until_it_is_deleted(service: Service) -> None:
    experiment = await service.create_experiment()
    path = f"/feature_flags/{experiment['feature_flag']}/"
    before = await service.read(path)
    await service.delete(f"/experiments/{experiment['id']}/")

    after = await service.read(path)

    assert (before["experiment_set"], before["is_simple_flag"]) == ([experiment["id"]], True)
    assert after == {**before, "experiment_set": [], "deleted": True}


async def test_experiment_shows_the_current_key_of_its_flag(service: Service) -> None:
    experiment = await service.create_experiment()
    flag = await service.read(f"/feature_flags/{experiment['feature_flag']}/")

    await patched(service, flag, key="renamed")

    assert await service.read(f"/experiments/{experiment['id']}/") == {**experiment, "feature_flag_key": "renamed"}


RENAMED = [{"key": "control", "rollout_percentage": 50}, {"key": "blue", "rollout_percentage": 50}]


@pytest.mark.parametrize("start", [None, "2199-01-01T00:00:00Z"])
async def test_an_experiment_that_has_not_started_plans_the_variants_that_its_flag_gets(
    service: Service, start: str | None
) -> None:
    parameters = {"feature_flag_variants": DEFAULT_VARIANTS, "minimum_detectable_effect": 5}
    experiment = await service.create_experiment(start_date=start, end_date=None, parameters=parameters)
    unplanned = await service.create_experiment(start_date=start, end_date=None, feature_flag_key="other")
    path = f"/experiments/{experiment['id']}/"
    for one in (experiment, unplanned):
        flag = await service.read(f"/feature_flags/{one['feature_flag']}/")
        await patched(service, flag, filters={**flag["filters"], "multivariate": {"variants": RENAMED}})

    followed = {**parameters, "feature_flag_variants": RENAMED}
    assert (await service.read(path))["parameters"] == followed
    assert (await service.read(f"/experiments/{unplanned['id']}/"))["parameters"] == unplanned["parameters"]
    changed = await service.patch(path, {"parameters": {**followed, "minimum_detectable_effect": 10}})
    assert changed.status_code == 200
    [_, entry, _] = (await service.read(f"{path}activity/"))["results"]
    assert entry["detail"]["changes"] == [
        {"field": "parameters", "action": "changed", "before": parameters, "after": followed}
    ]


@pytest.mark.parametrize(
    "unplannable",
    [
        [{"key": key, "rollout_percentage": 50} for key in ("blue", "green")],
        [{"key": key, "rollout_percentage": 5} for key in ("control", *map(str, range(19)))],
        [],
    ],
    ids=["no control", "too many", "none"],
)
async def test_a_draft_keeps_its_plan_where_the_variants_of_its_flag_could_not_be_planned(
    service: Service, unplannable: list[Json]
) -> None:
    planned = {"feature_flag_variants": DEFAULT_VARIANTS}
    draft = await service.create_experiment(start_date=None, end_date=None, parameters=planned)
    path = f"/experiments/{draft['id']}/"
    flag = await service.read(f"/feature_flags/{draft['feature_flag']}/")

    await patched(service, flag, filters={**flag["filters"], "multivariate": {"variants": unplannable}})
    kept = (await service.read(path))["parameters"]
    changed = await service.patch(path, {"parameters": {**kept, "minimum_detectable_effect": 10}})
    copied = await service.post(f"{path}duplicate/", {})
    await patched(service, flag, filters={**flag["filters"], "multivariate": {"variants": RENAMED}})

    assert (changed.status_code, copied.status_code) == (200, 201), (changed.text, copied.text)
    assert kept == planned
    assert (await service.read(path))["parameters"]["feature_flag_variants"] == RENAMED


@pytest.mark.each_database
async def test_changes_of_a_draft_and_of_its_flag_at_the_same_time_do_not_wait_for_each_other(service: Service) -> None:
    draft = await service.create_experiment(
        start_date=None, end_date=None, parameters={"feature_flag_variants": DEFAULT_VARIANTS}
    )
    flag = await service.read(f"/feature_flags/{draft['feature_flag']}/")
    splits = [
        {"filters": {**flag["filters"], "multivariate": {"variants": split}}} for split in (RENAMED, HALVES["variants"])
    ]
    path = f"/experiments/{draft['id']}/"

    responses = await asyncio.gather(
        *(
            service.patch(path, {"name": f"{n}", "filters": {"insight": "TRENDS", "properties": [COUNTRY]}})
            for n in range(6)
        ),
        *(service.patch(path_of(flag), splits[number % 2]) for number in range(6)),
    )

    assert {response.status_code for response in responses} == {200}


async def test_a_started_experiment_keeps_the_plan_that_it_started_with_and_takes_it_back(service: Service) -> None:
    planned = {"feature_flag_variants": DEFAULT_VARIANTS}
    experiment = await service.create_experiment(parameters=planned)
    flag = await service.read(f"/feature_flags/{experiment['feature_flag']}/")
    await patched(service, flag, filters={**flag["filters"], "multivariate": {"variants": RENAMED}})
    changed = {**planned, "minimum_detectable_effect": 10}

    response = await service.patch(f"/experiments/{experiment['id']}/", {"parameters": changed})

    assert (response.status_code, response.json()["parameters"]) == (200, changed)


@pytest.mark.parametrize(
    ("variants", "answer"),
    [
        (["control", "blue"], {"control", "blue"}),
        (["control", "test", "blue"], {"control", "test", "blue"}),
        (["test", "blue"], "No control variant data found"),
        (["control"], "Can't calculate A/B test results for less than 2 variants"),
        ([], "No control variant data found"),
    ],
)
async def test_results_are_about_the_variants_that_the_flag_has_by_then(
    service: Service, variants: list[str], answer: object
) -> None:
    experiment = await service.create_experiment()
    flag = await service.read(f"/feature_flags/{experiment['feature_flag']}/")
    await service.capture(*(event("$pageview", f"of {key}", variant=key) for key in ("control", "test", "blue")))
    split = {"variants": [{"key": key, "rollout_percentage": 30} for key in variants]}

    await patched(service, flag, filters={**flag["filters"], "multivariate": split})

    results = (await service.get(f"/experiments/{experiment['id']}/results/")).json()
    assert (set(results["probability"]) if "probability" in results else results["detail"]) == answer


async def test_launch_and_changed_participants_keep_what_was_changed_through_the_flag(service: Service) -> None:
    draft = await service.create_experiment(start_date=None, end_date=None)
    flag = await service.read(f"/feature_flags/{draft['feature_flag']}/")
    payloads = {"test": '"green"'}
    await patched(service, flag, name="Mine", filters={**flag["filters"], "payloads": payloads})

    await service.patch(
        f"/experiments/{draft['id']}/",
        {"start_date": "2022-11-01T00:00:00Z", "filters": {"insight": "TRENDS", "properties": [COUNTRY]}},
    )

    after = await service.read(path_of(flag))
    assert after == {
        **flag,
        "name": "Mine",
        "active": True,
        "is_simple_flag": False,
        "filters": {
            "groups": [{"properties": [COUNTRY]}],
            "multivariate": {"variants": DEFAULT_VARIANTS},
            "payloads": payloads,
            "aggregation_group_type_index": None,
        },
    }


@pytest.mark.each_database
async def test_change_of_what_has_changed_meanwhile_is_refused_on_request(service: Service) -> None:
    flag = await created(service)
    tag = (await service.get(path_of(flag))).headers["ETag"]

    async def rename(if_match: str) -> tuple[int, str | None]:
        response = await service.request(
            "PATCH", path_of(flag), json={"name": if_match}, headers={"If-Match": if_match}
        )
        return response.status_code, response.headers.get("ETag")

    first_status, new_tag = await rename(tag)
    assert new_tag is not None
    assert (first_status, await rename(tag)) == (200, (412, None))
    assert (await rename(new_tag))[0] == 200


@pytest.mark.each_database
async def test_changes_of_different_fields_at_the_same_time_all_last(service: Service) -> None:
    flag = await created(service)
    changes: list[dict[str, object]] = [
        {"name": "New"},
        {"active": False},
        {"ensure_experience_continuity": True},
        {"key": "new"},
    ]

    await asyncio.gather(*(patched(service, flag, **change) for change in changes))

    expected = {name: value for change in changes for name, value in change.items()}
    assert await service.read(path_of(flag)) == {**flag, **expected}


@pytest.mark.each_database
async def test_one_of_simultaneous_writers_gets_the_key(service: Service) -> None:
    deleted = [await created(service, key="wanted", deleted=True) for _ in range(2)]
    living = [await created(service, key=key) for key in ("a", "b")]

    responses = await asyncio.gather(
        *(service.post("/feature_flags/", {"key": "wanted"}) for _ in range(2)),
        *(service.patch(path_of(flag), {"deleted": False}) for flag in deleted),
        *(service.patch(path_of(flag), {"key": "wanted"}) for flag in living),
    )

    accepted = [response for response in responses if response.status_code in (200, 201)]
    refused = [response for response in responses if response.status_code == 400]
    assert (len(accepted), len(refused)) == (1, 5)
    assert [response.json() for response in refused] == [KEY_TAKEN] * 5
    keys = [flag["key"] for flag in (await service.read("/feature_flags/"))["results"]]
    assert keys.count("wanted") == 1
