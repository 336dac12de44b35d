"""Unchanged clients of PostHog, old and new: what they report is what the experiment counts."""

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.clients.clients import CLIENTS, EARLY_CLIENTS, Visits
from tests.support.service import Json, Service, event

pytestmark = pytest.mark.clients

FLAGS = ["checkout-experiment", "beta-feature"]
USERS = [f"distinct_id_{number}" for number in range(10)]
PURCHASES = {"insight": "TRENDS", "events": [{"id": "purchase", "order": 0, "type": "events"}]}
VISITS_TO_PURCHASES = {
    "insight": "FUNNELS",
    "events": [{"id": "visit", "order": 0, "type": "events"}, {"id": "purchase", "order": 1, "type": "events"}],
}
THIRDS = {"control": 34, "test_1": 33, "test_2": 33}
HALVES = {"control": 50, "test": 50}
# Where PostHog's SDKs of all ages put these users; every second one buys.
SEEN = {
    "distinct_id_0": {"checkout-experiment": "test_2", "beta-feature": "test"},
    "distinct_id_1": {"checkout-experiment": "control", "beta-feature": "test"},
    "distinct_id_2": {"checkout-experiment": "control", "beta-feature": "control"},
    "distinct_id_3": {"checkout-experiment": "test_2", "beta-feature": "test"},
    "distinct_id_4": {"checkout-experiment": "test_2", "beta-feature": "control"},
    "distinct_id_5": {"checkout-experiment": "control", "beta-feature": "test"},
    "distinct_id_6": {"checkout-experiment": "test_2", "beta-feature": "test"},
    "distinct_id_7": {"checkout-experiment": "test_1", "beta-feature": "test"},
    "distinct_id_8": {"checkout-experiment": "test_2", "beta-feature": "control"},
    "distinct_id_9": {"checkout-experiment": "test_2", "beta-feature": "control"},
}


@pytest.mark.parametrize("client", CLIENTS)
async def test_results_count_what_a_client_reports(shop: Service, tmp_path: Path, client: str) -> None:
    funnel, trend = await create_experiments(shop)
    visits = Visits(str(shop.client.base_url), shop.token, USERS, FLAGS, tmp_path)

    seen = await asyncio.to_thread(CLIENTS[client], visits)
    events = await until_told(shop, {"visit": 10, "purchase": 5, "$feature_flag_called": 20})

    assert seen == SEEN
    assert (await shop.read(f"/experiments/{funnel['id']}/results/"))["variants"] == [
        {"key": "control", "success_count": 1, "failure_count": 2},
        {"key": "test_1", "success_count": 0, "failure_count": 1},
        {"key": "test_2", "success_count": 4, "failure_count": 2},
    ]
    assert (await shop.read(f"/experiments/{trend['id']}/results/"))["variants"] == [
        {"key": "control", "count": 3, "exposure": 1.0, "absolute_exposure": 4.0},
        {"key": "test", "count": 2, "exposure": 1.5, "absolute_exposure": 6.0},
    ]
    persons = (await shop.read("/persons/"))["results"]
    plans = {user: person["properties"]["plan"] for person in persons for user in person["distinct_ids"]}
    assert {user: plans[user] for user in USERS} == dict.fromkeys(USERS, "pro")
    assert len(persons) == len(USERS)  # nobody is left of those whom browsers did not know before
    # The page view comes before the SDK has asked for flags: the server adds them.
    views = [one["properties"] for one in events if one["event"] == "$pageview"]
    assert len(views) == (10 if "-js" in client else 0)
    assert all({"$feature/checkout-experiment", "$feature/beta-feature"} <= view.keys() for view in views)


@pytest.mark.parametrize("client", [client for client in CLIENTS if "-js" not in client])
async def test_hundred_users_are_put_where_the_server_puts_them(shop: Service, tmp_path: Path, client: str) -> None:
    everybody: list[dict[str, Any]] = [{"properties": [], "rollout_percentage": 80}]
    pro = {"properties": [{"key": "plan", "value": ["pro"], "operator": "exact", "type": "person"}]}
    flags = {
        "thirds": {"groups": everybody, "multivariate": variants(THIRDS)},
        "halves-of-those-who-pay": {"groups": [{**pro, "rollout_percentage": 50}], "multivariate": variants(HALVES)},
        "one-variant-for-those-who-pay": {
            "groups": [{**pro, "variant": "test_1"}, *everybody],
            "multivariate": variants(THIRDS),
        },
        "no-variants": {"groups": everybody},
    }
    for key, filters in flags.items():
        response = await shop.post("/feature_flags/", {"key": key, "filters": filters})
        assert response.status_code == 201, response.text
    users = [f"user {number}" for number in range(100)]
    visits = Visits(str(shop.client.base_url), shop.token, users, list(flags), tmp_path, key=shop.key)

    by_itself = await asyncio.to_thread(CLIENTS[client], visits)

    for number, user in enumerate(users):
        person = {"plan": "pro" if number % 3 == 0 else "free"}
        body = {"token": shop.token, "distinct_id": user, "person_properties": person}
        response = await shop.client.post("/flags/?v=1", json=body)
        assert by_itself[user] == response.json()["featureFlags"], user
    assert len({str(seen) for seen in by_itself.values()}) > 8  # the users do differ


@pytest.mark.parametrize("client", [client for client in CLIENTS if "-js" not in client])
async def test_clients_that_know_of_holdouts_evaluate_them_and_others_do_not_try(
    shop: Service, tmp_path: Path, client: str
) -> None:
    filters = {"groups": [{"properties": []}], "holdout": {"id": 1, "exclusion_percentage": 50}}
    response = await shop.post("/feature_flags/", {"key": "held", "filters": filters})
    assert response.status_code == 201, response.text
    users = ["h0", "h1"]  # at 0.212 and 0.517
    visits = Visits(str(shop.client.base_url), shop.token, users, ["held"], tmp_path, key=shop.key)

    by_itself = await asyncio.to_thread(CLIENTS[client], visits)

    values = {user: seen.get("held") for user, seen in by_itself.items()}
    knows = client in {"posthog-python 7.91.1", "posthog-node 5.70.0"}
    assert values == ({"h0": "holdout-1", "h1": True} if knows else {"h0": None, "h1": None})


async def test_evaluators_hold_out_whom_the_flag_of_an_experiment_holds_out(shop: Service, tmp_path: Path) -> None:
    holdout = await shop.post("/experiment_holdouts/", {"name": "held", "filters": [{"rollout_percentage": 30}]})
    number = holdout.json()["id"]
    await shop.create_experiment(feature_flag_key="held", end_date=None, holdout_id=number)
    users = [f"h{place}" for place in range(40)]
    visits = Visits(str(shop.client.base_url), shop.token, users, ["held"], tmp_path, key=shop.key)

    for client in ("posthog-python 7.91.1", "posthog-node 5.70.0"):
        by_itself = await asyncio.to_thread(CLIENTS[client], visits)

        for user in users:
            response = await shop.client.post("/flags/?v=1", json={"token": shop.token, "distinct_id": user})
            assert by_itself[user] == response.json()["featureFlags"], (client, user)
        assert {by_itself[user]["held"] for user in users} == {f"holdout-{number}", "control", "test"}


@pytest.mark.parametrize("client", EARLY_CLIENTS)
async def test_clients_of_early_2022_find_on_what_the_server_finds_on(
    shop: Service, tmp_path: Path, client: str
) -> None:
    half: list[dict[str, Any]] = [{"properties": [], "rollout_percentage": 50}]
    pro = {"properties": [{"key": "plan", "value": ["pro"], "operator": "exact", "type": "person"}]}
    flags: dict[str, dict[str, Any]] = {
        "everybody": {"groups": [{"properties": [], "rollout_percentage": None}]},
        "nobody": {"groups": [{"properties": [], "rollout_percentage": 0}]},
        "half": {"groups": half},
        "variants": {"groups": half, "multivariate": variants(HALVES)},
        "held-out": {"groups": half, "holdout": {"id": 1, "exclusion_percentage": 50}},
        "paying": {"groups": [pro]},
    }
    for key, filters in flags.items():
        response = await shop.post("/feature_flags/", {"key": key, "filters": filters})
        assert response.status_code == 201, response.text
    await shop.post("/feature_flags/", {"key": "inactive", "filters": {"groups": half}, "active": False})
    users = [f"user {number}" for number in range(20)]
    await shop.capture(*(event("visit", user, properties={"$set": {"plan": "pro"}}) for user in users[::2]))
    visits = Visits(str(shop.client.base_url), shop.token, users, [*flags, "inactive"], tmp_path, key=shop.key)

    by_itself = await asyncio.to_thread(EARLY_CLIENTS[client], visits)

    for user in users:
        response = await shop.client.post("/flags/?v=1", json={"token": shop.token, "distinct_id": user})
        values = {**dict.fromkeys(visits.flags, False), **response.json()["featureFlags"]}
        assert {key: bool(value) for key, value in by_itself[user].items()} == {
            key: bool(value) for key, value in values.items()
        }, user
    assert len({str(seen) for seen in by_itself.values()}) > 4  # the users do differ


def variants(shares: dict[str, int]) -> Json:
    return {"variants": [{"key": key, "rollout_percentage": share} for key, share in shares.items()]}


async def create_experiments(shop: Service) -> list[Json]:
    """Create a funnel of thirds and a trend of halves, which began an hour ago and go on."""
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 3600))
    return [
        await shop.create_experiment(
            feature_flag_key=flag,
            filters=filters,
            parameters={"feature_flag_variants": variants(shares)["variants"]},
            start_date=started,
            end_date=None,
        )
        for flag, filters, shares in zip(FLAGS, (VISITS_TO_PURCHASES, PURCHASES), (THIRDS, HALVES), strict=True)
    ]


async def until_told(shop: Service, expected: dict[str, int]) -> list[Json]:
    """Return the events once so many have come: a browser that is left sends its last ones in the background."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        events: list[Json] = (await shop.read("/events/", limit=1000))["results"]
        told = Counter(one["event"] for one in events if one["event"] in expected)
        if told == expected:
            return events
        await asyncio.sleep(0.05)
    raise TimeoutError(f"not {expected} came, but {told}")
