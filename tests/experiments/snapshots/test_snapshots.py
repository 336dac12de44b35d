"""What snapshots hold, and that nothing changes them."""

import asyncio

import pytest

from app import VERSION
from app.db.database import Database
from app.experiments.changes import MAX_ATTEMPTS
from app.experiments.snapshots.service import SnapshotTaker, TakenSnapshot
from tests.experiments.test_creating import COUNTRY
from tests.experiments.test_lifecycle import act, acted
from tests.support.service import FUNNEL, TREND, Json, Service, event, exposure

pytestmark = pytest.mark.one_database

SECONDARY = [{"name": "Views", "filters": TREND}, {"name": "Nothing", "filters": {}}]
NO_METRIC = {"type": "validation_error", "code": "invalid_input", "detail": "Invalid metric ID", "attr": None}


async def capture_persons(service: Service, *, count: int = 12, prefix: str = "p", time: str) -> None:
    events = []
    for number in range(count):
        person, variant = f"{prefix}-{number}", ("control", "test")[number % 2]
        events += [exposure(person, variant, time), event("$pageview", person, time, variant=variant)]
        if number % 3 == 0:
            events.append(event("purchase", person, time, variant=variant))
    await service.capture(*events)


async def running_experiment(service: Service, **fields: object) -> Json:
    """Return a running experiment with events, which SDKs have sent a minute after its start."""
    made = await service.create_experiment(end_date=None, secondary_metrics=SECONDARY, **fields)
    await capture_persons(service, time="2022-11-01T00:01:00Z")
    return made


async def verdict_and_health(service: Service, experiment: Json) -> tuple[Json, Json]:
    """Return the body of 2022, and what is added to it."""
    results = await service.read(f"/experiments/{experiment['id']}/results/")
    health, explanation, _kind = (results.pop(name) for name in ("health", "explain", "kind"))
    assert explanation is None  # it was not requested
    return results, health


async def snapshots_of(service: Service, experiment: Json) -> list[Json]:
    found: list[Json] = (await service.read(f"/experiments/{experiment['id']}/snapshots/"))["results"]
    return found


@pytest.mark.parametrize("filters", [FUNNEL, TREND])
async def test_ending_stores_the_results_that_the_api_returns(service: Service, filters: Json) -> None:
    running = await running_experiment(service, filters=filters)
    path = f"/experiments/{running['id']}/"
    flag = await service.read(f"/feature_flags/{running['feature_flag']}/")

    ended = await acted(service, running, "end", conclusion="won")

    (snapshot,) = await snapshots_of(service, running)
    results, health = await verdict_and_health(service, running)
    definition = ("id", "name", "description", "start_date", "end_date", "parameters", "filters", "secondary_metrics")
    settings = ("conclusion", "conclusion_comment", "stats_config", "decision_criteria")
    typed = ("metrics", "metrics_secondary", "exposure_criteria", "saved_metrics_ids", "only_count_matured_users")
    of_flag = ("id", "key", "filters", "active", "deleted", "ensure_experience_continuity")
    assert snapshot == {
        "id": snapshot["id"],
        "trigger": "end",
        "created_at": snapshot["created_at"],
        "created_by": ended["created_by"],
        "experiment": {name: ended[name] for name in (*definition, *settings, *typed, "holdout_id")},
        "feature_flag": {name: flag[name] for name in of_flag},
        "window": {"date_from": ended["start_date"], "date_to": ended["end_date"], "timezone": "UTC"},
        "engine_version": VERSION,
        "results": results,
        "results_error": None,
        "secondary_results": [
            {"result": (await service.read(f"{path}secondary_results/", id="0"))["result"], "error": None},
            {"result": None, "error": NO_METRIC},
        ],
        "analysis": await service.read(f"{path}analysis/"),
        "analysis_error": None,
        "health": health,
    }
    assert await service.read(f"{path}snapshots/{snapshot['id']}/") == snapshot
    assert snapshot["created_at"] >= ended["end_date"]


async def test_later_events_and_changes_leave_a_snapshot_unchanged(service: Service) -> None:
    running = await running_experiment(service)
    path = f"/experiments/{running['id']}/"
    await acted(service, running, "end")
    kept = (await service.get(f"{path}snapshots/")).content
    results = await service.read(f"{path}results/")

    await capture_persons(service, prefix="late", time="2022-11-02T00:00:00Z")
    changed_results = await service.read(f"{path}results/")
    await service.patch(path, {"name": "Other", "filters": TREND, "secondary_metrics": []})
    await service.patch(f"/feature_flags/{running['feature_flag']}/", {"filters": {"groups": []}, "deleted": True})
    await acted(service, running, "archive")
    await acted(service, running, "reset")

    assert changed_results != results
    assert (await service.get(f"{path}snapshots/")).content == kept


async def test_ending_without_data_keeps_why_there_are_no_results(service: Service) -> None:
    draft = await service.create_experiment(start_date=None, end_date=None)
    await acted(service, draft, "launch")

    await acted(service, draft, "end")

    (snapshot,) = await snapshots_of(service, draft)
    refused = await service.get(f"/experiments/{draft['id']}/results/")
    assert refused.status_code == 400
    assert (snapshot["results"], snapshot["results_error"]) == (None, refused.json())


async def test_shipping_keeps_the_results_with_the_split_they_came_from(service: Service) -> None:
    running = await running_experiment(service)
    flag = await service.read(f"/feature_flags/{running['feature_flag']}/")

    await acted(service, running, "ship_variant", variant_key="test")

    (snapshot,) = await snapshots_of(service, running)
    assert snapshot["trigger"] == "ship_variant"
    assert snapshot["feature_flag"]["filters"] == flag["filters"]
    assert snapshot["results"] == (await verdict_and_health(service, running))[0]


@pytest.mark.parametrize("end", ["2022-11-02T00:00:00Z", "2199-01-01T00:00:00Z"])
async def test_change_that_sets_or_moves_the_end_keeps_a_snapshot_and_others_do_not(service: Service, end: str) -> None:
    running = await running_experiment(service)
    path = f"/experiments/{running['id']}/"
    changed = {**FUNNEL, "properties": [COUNTRY]}

    for body in ({"name": "Other"}, {"end_date": end, "filters": changed}, {"end_date": end}, {"end_date": None}):
        assert (await service.patch(path, body)).status_code == 200
    (snapshot,) = await snapshots_of(service, running)
    put = {"name": "Other", "feature_flag_key": "checkout", "end_date": "2022-11-03T00:00:00Z"}
    assert (await service.request("PUT", path, json=put)).status_code == 200

    assert snapshot["trigger"] == "update"
    assert (snapshot["experiment"]["end_date"], snapshot["experiment"]["filters"]) == (end, changed)
    assert snapshot["feature_flag"]["filters"]["groups"] == [{"properties": [COUNTRY]}]
    assert snapshot["window"]["date_to"] == min(end, snapshot["window"]["date_to"])
    assert snapshot["window"]["date_to"] <= snapshot["created_at"]
    assert len(await snapshots_of(service, running)) == 2


async def test_refused_change_keeps_no_snapshot(service: Service) -> None:
    running = await running_experiment(service)
    path = f"/experiments/{running['id']}/"

    refused = await service.patch(path, {"end_date": "2022-11-02T00:00:00Z", "feature_flag_key": "other"})

    assert refused.status_code == 400
    assert await snapshots_of(service, running) == []
    assert (await service.read(path))["end_date"] is None


@pytest.mark.each_database
async def test_snapshot_can_be_taken_at_any_time(service: Service) -> None:
    running = await running_experiment(service)
    path = f"/experiments/{running['id']}/"

    taken = await service.post(f"{path}snapshots/", {})
    await capture_persons(service, prefix="more", time="2022-11-02T00:00:00Z")
    again = await service.post(f"{path}snapshots/", {})

    assert (taken.status_code, taken.json()["trigger"]) == (201, "manual")
    verdict, _ = await verdict_and_health(service, running)
    assert taken.json()["results"] != again.json()["results"] == verdict
    assert await snapshots_of(service, running) == [again.json(), taken.json()]
    first = await service.read(f"{path}snapshots/", limit="1")
    assert (first["count"], first["results"]) == (2, [again.json()])
    assert first["next"].endswith("?limit=1&offset=1")


async def test_snapshots_are_found_under_their_own_experiment_only(service: Service) -> None:
    running = await running_experiment(service)
    other = await service.create_experiment(feature_flag_key="other")
    taken = (await service.post(f"/experiments/{running['id']}/snapshots/", {})).json()

    for path in (f"{other['id']}/snapshots/{taken['id']}", f"{running['id']}/snapshots/999", "999/snapshots"):
        assert (await service.get(f"/experiments/{path}/")).status_code == 404
    assert await snapshots_of(service, other) == []
    assert (await service.delete(f"/experiments/{running['id']}/")).status_code == 204
    assert (await service.get(f"/experiments/{running['id']}/snapshots/{taken['id']}/")).status_code == 404


async def test_change_while_results_are_counted_has_them_counted_again(
    service: Service, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await running_experiment(service)
    path = f"/experiments/{running['id']}/"
    take, names = SnapshotTaker.take, iter(["First", "Second"])

    async def take_and_be_disturbed(self: SnapshotTaker, *arguments: object) -> TakenSnapshot:
        taken = await take(self, *arguments)  # type: ignore[arg-type]  # whatever it was given
        if name := next(names, None):
            assert (await service.patch(path, {"name": name})).status_code == 200
        return taken

    monkeypatch.setattr(SnapshotTaker, "take", take_and_be_disturbed)
    ended = await acted(service, running, "end")

    (snapshot,) = await snapshots_of(service, running)
    assert (ended["name"], snapshot["experiment"]["name"]) == ("Second", "Second")


@pytest.mark.each_database
async def test_ending_an_experiment_under_constant_change_is_refused(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await running_experiment(service)
    path = f"/experiments/{running['id']}/"
    take, taken_names = SnapshotTaker.take, []

    async def take_and_be_disturbed(self: SnapshotTaker, *arguments: object) -> TakenSnapshot:
        taken = await take(self, *arguments)  # type: ignore[arg-type]  # whatever it was given
        taken_names.append(taken.definition.experiment.name)
        assert (await service.patch(path, {"name": f"Name {len(taken_names)}"})).status_code == 200
        return taken

    monkeypatch.setattr(SnapshotTaker, "take", take_and_be_disturbed)
    response = await act(service, running, "end")

    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert len(taken_names) == MAX_ATTEMPTS
    assert (await service.read(path))["status"] == "running"
    assert await snapshots_of(service, running) == []


@pytest.mark.each_database
async def test_changes_that_end_at_the_same_time_each_keep_what_they_left(service: Service) -> None:
    running = await running_experiment(service)
    path = f"/experiments/{running['id']}/"
    ends = [f"2022-11-0{day}T00:00:00Z" for day in (2, 3, 4)]

    responses = await asyncio.gather(*(service.patch(path, {"end_date": end}) for end in ends))

    assert [response.status_code for response in responses] == [200, 200, 200]
    kept = await snapshots_of(service, running)
    assert sorted(snapshot["experiment"]["end_date"] for snapshot in kept) == ends
    assert (await service.read(path))["end_date"] == kept[0]["experiment"]["end_date"]
