"""Actions on experiments: what each does, when it is refused, and that no order of them leads to another state."""

import asyncio
from collections import Counter
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.db.database import Database
from app.flags.filters import SHIPPED
from tests.conftest import new_service
from tests.experiments.test_creating import DEFAULT_VARIANTS
from tests.support.examples import examples
from tests.support.service import FUNNEL, TREND, Json, Service
from tests.support.stored_experiments import flags, only_flag

pytestmark = pytest.mark.one_database

AHEAD = "2199-01-01T00:00:00Z"
NOT_STARTED = "Experiment has not started yet."
NOT_LAUNCHED = "Experiment has not been launched yet."
LAUNCHED = "Experiment has already been launched."
NOT_ENDED = "Experiment has not ended yet."
ENDED = "Experiment has already ended."


def refusal(detail: str, code: str = "invalid_state", attr: str | None = None) -> Json:
    return {"type": "validation_error", "code": code, "detail": detail, "attr": attr}


# What the actions need that do not work with an empty body.
BODIES: dict[str, dict[str, object]] = {"ship_variant": {"variant_key": "test"}}


async def act(service: Service, experiment: Json, action: str, **body: object) -> httpx.Response:
    return await service.post(f"/experiments/{experiment['id']}/{action}/", body)


async def acted(service: Service, experiment: Json, action: str, **body: object) -> Json:
    response = await act(service, experiment, action, **body)
    assert response.status_code == 200, response.text
    assert await service.read(f"/experiments/{experiment['id']}/") == response.json()
    return response.json()


async def experiment_that_is(service: Service, status: str, **fields: Any) -> Json:
    made = await service.create_experiment(start_date=None, end_date=None, **fields)
    actions = {"running": ["launch"], "paused": ["launch", "pause"], "stopped": ["launch", "end"]}.get(status, [])
    if status == "scheduled":
        made = (await service.patch(f"/experiments/{made['id']}/", {"start_date": AHEAD})).json()
    for action in actions:
        made = await acted(service, made, action)
    assert made["status"] == status
    return made


async def test_launching_starts_now_and_releases_the_flag(service: Service, database: Database) -> None:
    draft = await service.create_experiment(start_date=None, end_date="2022-11-15T00:00:00Z")
    assert draft["status"] == "draft"

    launched = await acted(service, draft, "launch")

    changed = {"status": "running", "end_date": None} | {name: launched[name] for name in ("start_date", "updated_at")}
    assert launched == {**draft, **changed, "allowed_actions": launched["allowed_actions"]}
    assert draft["updated_at"] < launched["start_date"] <= launched["updated_at"]
    assert (await only_flag(database, service))["active"] is True


async def test_pausing_switches_the_flag_off_and_resuming_on_again(service: Service, database: Database) -> None:
    running = await experiment_that_is(service, "running")

    paused = await acted(service, running, "pause")
    flag_when_paused = await only_flag(database, service)
    resumed = await acted(service, paused, "resume")

    changed = {name: paused[name] for name in ("updated_at", "allowed_actions")}
    assert paused == {**running, **changed, "status": "paused"}
    assert resumed == {**running, "updated_at": resumed["updated_at"]}
    assert (flag_when_paused["active"], (await only_flag(database, service))["active"]) == (False, True)


async def test_flag_that_is_switched_by_hand_pauses_its_experiment(service: Service) -> None:
    running = await experiment_that_is(service, "running")
    flag, path = f"/feature_flags/{running['feature_flag']}/", f"/experiments/{running['id']}/"

    for change in ({"active": False}, {"active": True, "deleted": True}):
        await service.patch(flag, change)
        assert (await service.read(path))["status"] == "paused"
    assert (await act(service, running, "resume")).json() == refusal("The experiment's feature flag is deleted.")
    await service.patch(flag, {"deleted": False})

    assert (await service.read(path))["status"] == "running"


@pytest.mark.parametrize("status", ["running", "paused"])
async def test_ending_sets_the_end_and_leaves_the_flag_alone(service: Service, database: Database, status: str) -> None:
    before = await experiment_that_is(service, status)
    flag = await only_flag(database, service)

    ended = await acted(service, before, "end", conclusion="won", conclusion_comment="It sells.")

    changed = {"status": "stopped", "conclusion": "won", "conclusion_comment": "It sells."}
    changed |= {name: ended[name] for name in ("end_date", "updated_at", "allowed_actions")}
    assert ended == {**before, **changed}
    assert ended["start_date"] < ended["end_date"] <= ended["updated_at"]
    assert await only_flag(database, service) == flag


@pytest.mark.parametrize("filters", [FUNNEL, TREND])
async def test_experiment_that_starts_later_can_be_ended_before(service: Service, filters: Json) -> None:
    waiting = await service.create_experiment(start_date="2199-01-01T00:00:00Z", end_date=None, filters=filters)

    ended = await acted(service, waiting, "end")

    assert (ended["status"], ended["end_date"] < ended["start_date"]) == ("stopped", True)


@pytest.mark.parametrize("status", ["running", "paused", "stopped"])
async def test_shipped_variant_is_released_to_everyone_and_old_conditions_stay(
    service: Service, database: Database, status: str
) -> None:
    before = await experiment_that_is(service, status)
    groups = (await only_flag(database, service))["filters"]["groups"]

    shipped = await acted(service, before, "ship_variant", variant_key="test", conclusion="won")

    changed = {"status": "stopped", "conclusion": "won", "updated_at": shipped["updated_at"]}
    changed |= {name: shipped[name] for name in ("allowed_actions", "variants")}
    assert shipped == {**before, **changed, "end_date": before["end_date"] or shipped["end_date"]}
    flag = await only_flag(database, service)
    assert flag["active"] is True
    assert flag["filters"] == {
        "groups": [{"properties": [], "rollout_percentage": 100, "description": SHIPPED}, *groups],
        "multivariate": {
            "variants": [
                {**DEFAULT_VARIANTS[0], "rollout_percentage": 0},
                {**DEFAULT_VARIANTS[1], "rollout_percentage": 100},
            ]
        },
    }
    asked = {"token": service.token, "distinct_id": "anybody"}
    answer = (await service.client.post("/flags/?v=2", json=asked)).json()
    assert answer["flags"]["checkout"]["variant"] == "test"


@pytest.mark.each_database
async def test_resetting_makes_a_draft_and_leaves_the_flag_alone(service: Service, database: Database) -> None:
    draft = await service.create_experiment(start_date=None, end_date=None)
    await acted(service, draft, "launch")
    await acted(service, draft, "end", conclusion="lost", conclusion_comment="Alas.")
    await acted(service, draft, "archive")
    flag = await only_flag(database, service)

    reset = await acted(service, draft, "reset")

    assert reset == {**draft, "updated_at": reset["updated_at"]}
    assert await only_flag(database, service) == flag
    assert (await acted(service, draft, "launch"))["status"] == "running"


async def test_archiving_puts_an_ended_experiment_away_and_unarchiving_takes_it_back(service: Service) -> None:
    ended = await experiment_that_is(service, "stopped")

    archived = await acted(service, ended, "archive")
    unarchived = await acted(service, ended, "unarchive")

    changed = {name: archived[name] for name in ("updated_at", "allowed_actions")}
    assert archived == {**ended, **changed, "archived": True}
    assert unarchived == {**ended, "updated_at": unarchived["updated_at"]}


async def test_duplicate_is_a_draft_with_a_flag_of_its_own(service: Service, database: Database) -> None:
    original = await service.create_experiment(
        description="Larger", parameters={"feature_flag_variants": DEFAULT_VARIANTS}, secondary_metrics=[]
    )
    await acted(service, original, "ship_variant", variant_key="control")

    copies = [(await act(service, original, "duplicate")).json() for _ in range(2)]
    named = await act(service, original, "duplicate", name="Again", feature_flag_key="again")
    taken = await act(service, original, "duplicate", feature_flag_key="again")

    assert [copy["feature_flag_key"] for copy in copies] == ["checkout-copy", "checkout-copy-2"]
    kept = ("description", "parameters", "filters", "secondary_metrics", "archived")
    for copy in copies:
        assert {name: copy[name] for name in kept} == {name: original[name] for name in kept}
        assert (copy["name"], copy["status"], copy["start_date"]) == ("Checkout button (Copy)", "draft", None)
    assert (named.status_code, named.json()["name"], named.json()["feature_flag_key"]) == (201, "Again", "again")
    assert taken.json() == refusal("There is already a feature flag with this key.", "unique", "feature_flag_key")
    assert (await flags(database, service))[1]["filters"]["multivariate"] == {"variants": DEFAULT_VARIANTS}
    assert (await flags(database, service))[1]["active"] is False


async def test_duplicate_has_the_ramp_and_the_circuit_breakers_of_its_metrics(service: Service) -> None:
    bought = {"metric_type": "mean", "source": {"kind": "EventsNode", "event": "purchase"}}
    rule = {"direction": "decrease", "threshold_relative": 0.1, "action": "pause"}
    ramp = [{"after_hours": 0, "rollout_percentage": 5}, {"after_hours": 24, "rollout_percentage": 100}]
    original = await service.create_experiment(
        start_date=None,
        end_date=None,
        metrics=[bought],
        scheduling_config={"end_at": "2199-01-01T00:00:00Z", "ramp": ramp},
    )
    [own] = original["metrics"]
    path = f"/experiments/{original['id']}/"
    breakers = [{**rule, "metric_uuid": "primary"}, {**rule, "metric_uuid": own["uuid"].upper()}]
    await service.patch(path, {"circuit_breakers": breakers})

    response = await act(service, original, "duplicate")
    await service.patch(path, {"metrics": []})
    without = await act(service, original, "duplicate")

    copy = response.json()
    [metric] = copy["metrics"]
    assert (copy["scheduling_config"], metric["fingerprint"]) == ({"ramp": ramp}, own["fingerprint"])
    assert metric["uuid"] != own["uuid"]
    assert [one["metric_uuid"] for one in copy["circuit_breakers"]] == ["primary", metric["uuid"]]
    assert "end_at" in response.headers["warning"]
    assert [one["metric_uuid"] for one in without.json()["circuit_breakers"]] == ["primary"]
    assert "1 of circuit_breakers" in without.headers["warning"]


async def test_longest_name_and_key_can_be_duplicated(service: Service) -> None:
    original = await service.create_experiment(name="n" * 400, feature_flag_key="k" * 400)

    copy = await act(service, original, "duplicate")

    assert copy.status_code == 201
    assert (len(copy.json()["name"]), len(copy.json()["feature_flag_key"])) == (400, 400)


@pytest.mark.parametrize(
    ("status", "action", "detail"),
    [
        ("running", "launch", LAUNCHED),
        ("paused", "launch", LAUNCHED),
        ("stopped", "launch", LAUNCHED),
        ("draft", "pause", NOT_LAUNCHED),
        ("paused", "pause", "Experiment is already paused."),
        ("stopped", "pause", ENDED),
        ("draft", "resume", NOT_LAUNCHED),
        ("running", "resume", "Experiment is not paused."),
        ("stopped", "resume", ENDED),
        ("scheduled", "pause", NOT_STARTED),
        ("scheduled", "resume", NOT_STARTED),
        ("scheduled", "archive", NOT_STARTED),
        ("draft", "end", NOT_LAUNCHED),
        ("stopped", "end", ENDED),
        ("draft", "ship_variant", NOT_LAUNCHED),
        ("draft", "reset", "Experiment is already in draft state."),
        ("draft", "archive", NOT_LAUNCHED),
        ("running", "archive", NOT_ENDED),
        ("paused", "archive", NOT_ENDED),
        ("stopped", "unarchive", "Experiment is not archived."),
        ("draft", "snapshots", NOT_LAUNCHED),
    ],
)
async def test_action_that_the_status_forbids_is_refused_and_changes_nothing(
    service: Service, database: Database, status: str, action: str, detail: str
) -> None:
    experiment, flag = await experiment_that_is(service, status), await only_flag(database, service)

    response = await act(service, experiment, action, **BODIES.get(action, {}))

    assert (response.status_code, response.json()) == (400, refusal(detail))
    assert await service.read(f"/experiments/{experiment['id']}/") == experiment
    assert await only_flag(database, service) == flag


async def test_archived_experiment_is_neither_archived_again_nor_launched(service: Service) -> None:
    ended = await experiment_that_is(service, "stopped")
    await acted(service, ended, "archive")
    assert (await act(service, ended, "archive")).json() == refusal("Experiment is already archived.")

    await service.patch(f"/experiments/{ended['id']}/", {"start_date": None})

    assert (await act(service, ended, "launch")).json() == refusal("Experiment is archived.")


@pytest.mark.parametrize("keys", [["control"], ["one"]])
async def test_flag_without_something_to_compare_is_not_launched(service: Service, keys: list[str]) -> None:
    draft = await experiment_that_is(service, "draft")
    variants = [{"key": key, "rollout_percentage": 100 / len(keys)} for key in keys]
    changed = {"groups": [], "multivariate": {"variants": variants}}
    assert (await service.patch(f"/feature_flags/{draft['feature_flag']}/", {"filters": changed})).status_code == 200

    response = await act(service, draft, "launch")

    assert response.json() == refusal("The feature flag has 1 variants; an experiment needs 2 to 20.")


@pytest.mark.parametrize(
    ("action", "body", "answer"),
    [
        ("ship_variant", {}, refusal("This field is required.", "required", "variant_key")),
        (
            "ship_variant",
            {"variant_key": "other"},
            refusal("Variant 'other' is not one of the flag's.", "invalid_input", "variant_key"),
        ),
        ("end", {"conclusion": "great"}, refusal('"great" is not a valid choice.', "invalid_choice", "conclusion")),
        (
            "end",
            {"conclusion_comment": "x" * 3001},
            refusal("Ensure this field has no more than 3000 characters.", "max_length", "conclusion_comment"),
        ),
        (
            "end",
            {"conclusion": [["won"]]},
            refusal("\"[['won']]\" is not a valid choice.", "invalid_choice", "conclusion"),
        ),
    ],
)
async def test_wrong_body_is_refused_and_changes_nothing(
    service: Service, database: Database, action: str, body: dict[str, object], answer: Json
) -> None:
    running, flag = await experiment_that_is(service, "running"), await only_flag(database, service)

    response = await act(service, running, action, **body)

    assert (response.status_code, response.json()) == (400, answer)
    assert await service.read(f"/experiments/{running['id']}/") == running
    assert await only_flag(database, service) == flag


@pytest.mark.parametrize("action", ["launch", "end", "duplicate", "snapshots"])
async def test_action_on_an_unknown_experiment_is_a_404_for_any_body(service: Service, action: str) -> None:
    for reference in ("999", "abc"):
        response = await service.request("POST", f"/experiments/{reference}/{action}/", content=b"{")
        assert response.status_code == 404


async def test_action_can_be_bound_to_the_state_it_was_meant_for(service: Service) -> None:
    draft = await experiment_that_is(service, "draft")
    path = f"/experiments/{draft['id']}/"
    tag = (await service.get(path)).headers["ETag"]
    await service.patch(path, {"name": "Other"})

    launched = await service.request("POST", f"{path}launch/", headers={"If-Match": tag})
    ended = await service.request("POST", f"{path}end/", headers={"If-Match": tag})

    assert (launched.status_code, ended.status_code) == (412, 412)


@pytest.mark.each_database
@pytest.mark.parametrize(
    ("status", "action", "detail"),
    [("draft", "launch", LAUNCHED), ("running", "pause", "Experiment is already paused."), ("running", "end", ENDED)],
)
async def test_one_of_simultaneous_equal_actions_succeeds(
    service: Service, status: str, action: str, detail: str
) -> None:
    experiment = await experiment_that_is(service, status)

    responses = await asyncio.gather(*(act(service, experiment, action) for _ in range(3)))

    assert Counter(response.status_code for response in responses) == {200: 1, 400: 2}
    assert [response.json() for response in responses if response.status_code == 400] == [refusal(detail)] * 2
    path = f"/experiments/{experiment['id']}/"
    assert (await service.read(f"{path}snapshots/"))["count"] == (action == "end")


@pytest.mark.each_database
async def test_lists_can_be_filtered_by_status(service: Service) -> None:
    for status in ("draft", "scheduled", "running", "paused", "stopped"):
        await experiment_that_is(service, status, feature_flag_key=status)

    for query, keys in {
        "draft": ["draft"],
        "scheduled": ["scheduled"],
        "running": ["running"],
        "Paused": ["paused"],
        "stopped": ["stopped"],
        "complete": ["stopped"],
        "all": ["stopped", "paused", "running", "scheduled", "draft"],
    }.items():
        page = await service.read("/experiments/", status=query)
        assert [item["feature_flag_key"] for item in page["results"]] == keys
        assert (await service.read("/experiments/", status=query, limit="1"))["count"] == len(keys)
    ordered = await service.read("/experiments/", order="status")
    assert [item["status"] for item in ordered["results"]] == ["draft", "scheduled", "running", "paused", "stopped"]


ACTIONS = ("launch", "pause", "resume", "end", "ship_variant", "reset", "archive", "unarchive")
CHANGES: list[tuple[str, dict[str, object]]] = [
    ("experiments", {"start_date": "2022-11-01T00:00:00Z"}),
    ("experiments", {"start_date": None}),
    ("experiments", {"start_date": AHEAD}),
    ("experiments", {"end_date": "2198-01-01T00:00:00Z"}),
    ("experiments", {"end_date": "2022-11-15T00:00:00Z"}),
    ("experiments", {"end_date": None}),
    ("experiments", {"archived": True}),
    ("feature_flags", {"active": False}),
    ("feature_flags", {"active": True}),
    ("feature_flags", {"deleted": True}),
    ("feature_flags", {"deleted": False}),
]

# What the documentation says: from which status an action leads to which.
TRANSITIONS: dict[str, dict[str, str]] = {
    "launch": {"draft": "running", "scheduled": "running"},
    "pause": {"running": "paused"},
    "resume": {"paused": "running"},
    "end": {"scheduled": "stopped", "running": "stopped", "paused": "stopped"},
    "ship_variant": dict.fromkeys(("scheduled", "running", "paused", "stopped"), "stopped"),
    "reset": dict.fromkeys(("scheduled", "running", "paused", "stopped"), "draft"),
    "archive": {"stopped": "stopped"},
    "unarchive": {status: status for status in ("draft", "scheduled", "running", "paused", "stopped")},
}


def is_documented(action: str, experiment: Json, flag: Json) -> bool:
    if experiment["status"] not in TRANSITIONS[action]:
        return False
    if action in ("launch", "archive") and experiment["archived"]:
        return False
    if action in ("launch", "resume", "ship_variant") and flag["deleted"]:
        return False
    return bool(action != "unarchive" or experiment["archived"])


def expected_status(experiment: Json, *, is_released: bool) -> str:
    """Return the status by the dates, of which those of 2198 and later lie ahead."""
    start, end = experiment["start_date"], experiment["end_date"]
    if start is None:
        return "draft"
    if end is not None and end < "2198":
        return "stopped"
    return "scheduled" if start > "2198" else "running" if is_released else "paused"


@settings(max_examples=examples(20), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.sampled_from([*ACTIONS, *ACTIONS, *CHANGES]), max_size=14))
async def test_every_order_of_actions_leads_to_a_documented_state(
    client: httpx.AsyncClient, database: Database, steps: list[Any]
) -> None:
    service = await new_service(client, database)
    experiment = await service.create_experiment(start_date=None, end_date=None, filters=FUNNEL)
    path, flag_path = f"/experiments/{experiment['id']}/", f"/feature_flags/{experiment['feature_flag']}/"
    flag = await service.read(flag_path)
    snapshots: list[Json] = []

    for step in steps:
        if isinstance(step, str):
            response = await act(service, experiment, step, **BODIES.get(step, {}))
            if is_documented(step, experiment, flag):
                assert response.status_code == 200, (step, experiment, response.text)
                assert response.json()["status"] == TRANSITIONS[step][experiment["status"]]
            else:
                assert (response.status_code, response.json()["code"]) == (400, "invalid_state")
                assert await service.read(path) == experiment
                assert await service.read(flag_path) == flag
        else:
            assert (await service.patch(flag_path if step[0] == "feature_flags" else path, step[1])).status_code == 200
        experiment, flag = await service.read(path), await service.read(flag_path)

        is_released = flag["active"] and not flag["deleted"]
        assert experiment["status"] == expected_status(experiment, is_released=is_released)
        with_status = await service.read("/experiments/", status=experiment["status"])
        assert experiment in with_status["results"]
        kept = (await service.read(f"{path}snapshots/"))["results"]
        assert kept[len(kept) - len(snapshots) :] == snapshots
        snapshots = kept


async def test_experiment_lists_the_actions_that_are_not_refused(service: Service) -> None:
    dates: dict[str, Json] = {
        "draft": {"start_date": None, "end_date": None},
        "scheduled": {"start_date": AHEAD, "end_date": None},
        "running": {"end_date": None},
        "paused": {"end_date": None},
        "stopped": {},
        "archived": {"archived": True},
    }
    made = {key: await service.create_experiment(feature_flag_key=key, **sent) for key, sent in dates.items()}
    await service.post(f"/experiments/{made['paused']['id']}/pause/", {})

    listed = {one["feature_flag_key"]: one for one in (await service.read("/experiments/"))["results"]}

    assert {key: one["allowed_actions"] for key, one in listed.items()} == {
        "draft": ["launch"],
        "scheduled": ["launch", "end", "ship_variant", "reset"],
        "running": ["pause", "end", "ship_variant", "reset", "freeze_exposure"],
        "paused": ["resume", "end", "ship_variant", "reset"],
        "stopped": ["ship_variant", "reset", "archive"],
        "archived": ["ship_variant", "reset", "unarchive"],
    }
    everything = {name for one in listed.values() for name in one["allowed_actions"]}
    for one in listed.values():
        for action in everything - set(one["allowed_actions"]):
            refused = await service.post(
                f"/experiments/{one['id']}/{action}/", {"variant_key": "test"} if "ship" in action else {}
            )
            assert (refused.status_code, refused.json()["code"]) == (400, "invalid_state"), (one["status"], action)


async def test_experiment_shows_the_variants_that_its_flag_has(service: Service) -> None:
    made = await service.create_experiment()
    split = [{**one, "rollout_percentage": share} for one, share in zip(DEFAULT_VARIANTS, (10, 90), strict=True)]
    filters = {"groups": [{"properties": [], "rollout_percentage": 100}], "multivariate": {"variants": split}}

    await service.patch(f"/feature_flags/{made['feature_flag']}/", {"filters": filters})

    [listed] = (await service.read("/experiments/"))["results"]
    assert (made["variants"], listed["variants"]) == (DEFAULT_VARIANTS, split)
