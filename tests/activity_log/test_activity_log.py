"""The log of changes: user, time and differing fields."""

import pytest

from app.activity_log.changes import ABSENT, State, changes_between
from tests.experiments.test_lifecycle import BODIES, act, acted
from tests.support.service import Json, Service

pytestmark = pytest.mark.one_database


async def activities(service: Service, path: str) -> list[Json]:
    """Return what the log says, oldest first."""
    found: list[Json] = (await service.read(f"/{path}/activity/"))["results"]
    return found[::-1]


def fields(entry: Json) -> dict[str, tuple[object, object]]:
    return {change["field"]: (change["before"], change["after"]) for change in entry["detail"]["changes"]}


async def test_entry_says_who_changed_what_from_what_to_what(service: Service) -> None:
    experiment = await service.create_experiment()

    changed = await service.patch(f"/experiments/{experiment['id']}/", {"name": "New", "description": "Larger"})

    entry = (await activities(service, f"experiments/{experiment['id']}"))[-1]
    assert entry == {
        "id": entry["id"],
        "activity": "updated",
        "scope": "Experiment",
        "item_id": str(experiment["id"]),
        "user": experiment["created_by"],
        "detail": {
            "name": "New",
            "changes": [
                {"field": "name", "action": "changed", "before": "Checkout button", "after": "New"},
                {"field": "description", "action": "created", "before": None, "after": "Larger"},
            ],
        },
        "created_at": entry["created_at"],
    }
    assert entry["created_at"] >= changed.json()["updated_at"]


async def test_life_is_told_from_its_creation_to_its_deletion(service: Service) -> None:
    draft = await service.create_experiment(start_date=None, end_date=None)
    experiment, flag = f"experiments/{draft['id']}", f"feature_flags/{draft['feature_flag']}"
    for action in ("launch", "pause", "resume", "end", "archive", "unarchive", "ship_variant", "reset"):
        await acted(service, draft, action, **BODIES.get(action, {}))
    await service.patch(f"/{experiment}/", {})
    await service.delete(f"/{experiment}/")

    told, told_of_flag = await activities(service, experiment), await activities(service, flag)

    verbs = ["created", "launched", "paused", "resumed", "ended", "archived", "unarchived", "shipped", "reset"]
    assert [entry["activity"] for entry in told] == [*verbs, "deleted"]
    assert fields(told[1]).keys() == {"status", "start_date"}
    assert fields(told[1])["status"] == ("draft", "running")
    assert fields(told[2]) == {"status": ("running", "paused")}
    assert fields(told[0])["name"] == fields(told[-1])["name"][::-1] == (None, "Checkout button")
    assert [entry["activity"] for entry in told_of_flag] == ["created", *["updated"] * 5]
    assert [fields(entry) for entry in told_of_flag[1:4]] == [
        {"active": (False, True)},
        {"active": (True, False)},
        {"active": (False, True)},
    ]
    assert fields(told_of_flag[4]).keys() == {"filters"}
    assert fields(told_of_flag[5]) == {"deleted": (False, True)}
    assert await activities(service, "experiments") == told
    assert await activities(service, "feature_flags") == told_of_flag


async def test_changes_of_flags_by_themselves_are_told_too(service: Service) -> None:
    flag = (await service.post("/feature_flags/", {"key": "mine"})).json()
    path = f"/feature_flags/{flag['id']}/"
    await service.patch(path, {"active": False})
    await service.patch(path, {"active": False})

    told = await activities(service, path.strip("/"))

    assert [(entry["activity"], entry["scope"], entry["detail"]["name"]) for entry in told] == [
        ("created", "FeatureFlag", "mine"),
        ("updated", "FeatureFlag", "mine"),
    ]
    assert fields(told[1]) == {"active": (True, False)}


async def test_refused_change_is_not_logged(service: Service) -> None:
    draft = await service.create_experiment(start_date=None, end_date=None)
    before = await activities(service, "experiments"), await activities(service, "feature_flags")

    assert (await act(service, draft, "end")).status_code == 400
    body = {"start_date": "2022-11-01T00:00:00Z", "feature_flag_key": "other"}
    assert (await service.patch(f"/experiments/{draft['id']}/", body)).status_code == 400
    assert (await service.patch(f"/feature_flags/{draft['feature_flag']}/", {"key": ""})).status_code == 400
    assert (await service.post("/feature_flags/", {"key": "checkout"})).status_code == 400

    assert (await activities(service, "experiments"), await activities(service, "feature_flags")) == before


async def test_log_comes_in_pages_newest_first(service: Service) -> None:
    for key in ("a", "b", "c"):
        await service.create_experiment(feature_flag_key=key, name=key)

    page = await service.read("/experiments/activity/", limit="2")

    assert (page["count"], page["previous"]) == (3, None)
    assert [entry["detail"]["name"] for entry in page["results"]] == ["c", "b"]
    assert page["next"].endswith("/experiments/activity/?limit=2&offset=2")


@pytest.mark.parametrize(
    "path", ["experiments/999", "experiments/abc", "feature_flags/999", "feature_flags/abc", "experiments/-1"]
)
async def test_missing_object_has_no_log(service: Service, path: str) -> None:
    await service.create_experiment()

    assert (await service.get(f"/{path}/activity/")).status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_log_cannot_be_changed(service: Service, method: str) -> None:
    experiment = await service.create_experiment()

    for path in (f"experiments/{experiment['id']}", "experiments", "feature_flags"):
        assert (await service.request(method, f"/{path}/activity/", json={})).status_code == 405


def test_fields_that_are_equal_are_no_change() -> None:
    state: State = {"a": 1, "b": None, "c": {"d": [1]}}

    assert changes_between(state, {**state}) == []
    assert [(change["field"], change["action"]) for change in changes_between(ABSENT, state)] == [
        ("a", "created"),
        ("c", "created"),
    ]
    assert [change["action"] for change in changes_between(state, ABSENT)] == ["deleted", "deleted"]
    assert changes_between({"a": 1}, {"a": 2}) == [{"field": "a", "action": "changed", "before": 1, "after": 2}]
