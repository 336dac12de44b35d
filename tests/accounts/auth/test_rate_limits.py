"""Rate limits of keys."""

import copy
from collections.abc import Hashable, Iterator

import pytest
from fastapi import FastAPI

from app.accounts.auth.rate_limits import ANALYTICS, GENERAL, LOCAL_EVALUATION, RateLimit, RateLimiter
from app.db.database import Database
from app.main import create_app
from app.settings import Settings
from tests.conftest import new_service
from tests.support.service import Service, event

pytestmark = pytest.mark.one_database


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(clock: Clock) -> RateLimiter:
    return RateLimiter(clock)


@pytest.fixture
def limited(application: FastAPI, limiter: RateLimiter) -> Iterator[RateLimiter]:
    """The limiter of the running application, by a clock that stands still."""
    application.state.rate_limiter = limiter
    yield limiter
    application.state.rate_limiter = None


def exhaust(limiter: RateLimiter, limit: RateLimit, caller: object) -> int:
    """Return how many requests are let through until one is refused."""
    allowed = 0
    while limiter.count(limit, caller) == 0:
        allowed += 1
    return allowed


@pytest.mark.parametrize(
    ("limit", "per_minute", "per_hour"), [(GENERAL, 480, 4800), (ANALYTICS, 240, 1200), (LOCAL_EVALUATION, 600, 36_000)]
)
def test_limits_per_minute_and_per_hour_apply(
    limiter: RateLimiter, clock: Clock, limit: RateLimit, per_minute: int, per_hour: int
) -> None:
    by_minute = []
    for _ in range(60):
        by_minute.append(exhaust(limiter, limit, "ann"))
        clock.now += 60

    assert sum(by_minute) == per_hour
    assert by_minute[: per_hour // per_minute] == [per_minute] * (per_hour // per_minute)
    assert exhaust(limiter, limit, "ann") == per_minute  # an hour after the first minute


def test_window_slides(limiter: RateLimiter, clock: Clock) -> None:
    limiter.count(GENERAL, "ann")
    clock.now += 59
    assert exhaust(limiter, GENERAL, "ann") == 479
    clock.now += 1

    assert exhaust(limiter, GENERAL, "ann") == 1


def test_refused_caller_succeeds_after_the_reported_wait(limiter: RateLimiter, clock: Clock) -> None:
    exhaust(limiter, GENERAL, "ann")
    clock.now += 12.5

    wait = limiter.count(GENERAL, "ann")
    clock.now += wait

    assert wait == 47.5
    assert limiter.count(GENERAL, "ann") == 0


def test_idle_callers_are_forgotten(limiter: RateLimiter, clock: Clock) -> None:
    for caller in range(100):
        limiter.count(GENERAL, caller)
    clock.now += 3601

    limiter.count(GENERAL, "ann")

    assert len(limiter._logs) == 1  # nothing else shows it


def made_by(limiter: RateLimiter) -> Hashable:
    """Return the one caller whose requests were counted."""
    [counted] = limiter._logs  # under the name of the limit and the caller
    assert isinstance(counted, tuple)
    caller: Hashable = counted[1]
    return caller


async def test_481st_request_in_a_minute_is_refused(service: Service, limited: RateLimiter, clock: Clock) -> None:
    assert (await service.get("/experiments/")).status_code == 200
    assert exhaust(limited, GENERAL, made_by(limited)) == 479
    clock.now += 18.5

    refused = await service.get("/feature_flags/")

    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "42")
    assert refused.json() == {
        "type": "throttled_error",
        "code": "throttled",
        "detail": "Request was throttled. Expected available in 42 seconds.",
        "attr": None,
    }
    clock.now += 41.5
    assert (await service.get("/feature_flags/")).status_code == 200


async def test_results_have_a_limit_of_their_own(service: Service, limited: RateLimiter) -> None:
    experiment = await service.create_experiment()
    limited._logs.clear()
    path = f"/experiments/{experiment['id']}/secondary_results/?id=7"

    assert (await service.get(path)).status_code == 400
    assert exhaust(limited, ANALYTICS, made_by(limited)) == 239
    assert (await service.get(path)).status_code == 429
    assert (await service.get("/events/")).status_code == 429
    assert (await service.get("/experiments/")).status_code == 200


async def test_requests_are_counted_by_key_and_project(
    service: Service, database: Database, limited: RateLimiter
) -> None:
    neighbor = await new_service(service.client, database, beside=service)
    headers = {"Authorization": f"Bearer {service.key}"}

    assert (await service.client.get("/api/projects/@current/actions/", headers=headers)).status_code == 200
    assert exhaust(limited, GENERAL, made_by(limited)) == 479
    assert (await service.client.get("/api/projects/@current/actions/", headers=headers)).status_code == 429
    assert (await service.get("/actions/")).status_code == 429
    assert (await neighbor.get("/actions/")).status_code == 200
    other_key = {"Authorization": f"Bearer {neighbor.key}"}
    assert (await service.client.get(f"{service.project}/actions/", headers=other_key)).status_code == 200
    assert (await service.client.get(f"{neighbor.project}/actions/", headers=headers)).status_code == 200


async def test_capture_and_flags_are_never_limited(service: Service, limited: RateLimiter) -> None:
    assert (await service.get("/cohorts/")).status_code == 200
    counted = made_by(limited)
    for limit in (GENERAL, ANALYTICS, LOCAL_EVALUATION):
        exhaust(limited, limit, counted)
    before = copy.deepcopy(limited._logs)
    sent = {"api_key": service.token, **event("visit", "ann")}
    asked = {"token": service.token, "distinct_id": "ann"}

    assert (await service.get("/cohorts/")).status_code == 429
    assert (await service.client.post("/e/", json=sent)).status_code == 200
    assert (await service.client.post("/flags/", json=asked)).status_code == 200
    assert limited._logs == before  # neither is counted, so no number of them is refused


def test_rate_limits_are_off_by_default() -> None:
    assert create_app(Settings()).state.rate_limiter is None
    assert create_app(Settings(rate_limit_enabled=True)).state.rate_limiter is not None
