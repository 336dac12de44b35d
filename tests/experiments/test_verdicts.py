"""The last verdict in the representation of experiments: formed by the background, and never by a request."""

import datetime as dt
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from app.common.errors import StillCounting
from app.db.clickhouse import ClickHouseUnavailable
from app.db.database import Database
from app.db.models import utc_now
from app.experiments.scorecard.service import ScorecardService
from app.experiments.verdicts.service import SECONDS_BETWEEN_LATE_VERDICTS, SECONDS_BETWEEN_VERDICTS
from app.metrics.facts.materializer import Materializer
from app.metrics.failures import CountingFailures
from tests.pages.conftest import clear_win, send, viewed
from tests.support.service import Service
from tests.support.verdicts import form_verdicts, verdict_steps

pytestmark = pytest.mark.one_database


async def test_background_keeps_the_last_verdict_for_lists(service: Service, database: Database) -> None:
    draft = await service.create_experiment(start_date=None, end_date=None, feature_flag_key="draft")
    won = await clear_win(service)
    assert (draft["verdict"], won["verdict"]) == (None, None)

    assert await form_verdicts(database, service) == 1

    listed: dict[str, Any] = {
        one["feature_flag_key"]: one["verdict"] for one in (await service.read("/experiments/"))["results"]
    }
    decision = await service.read(f"/experiments/{won['id']}/decision/")
    assert listed["draft"] is None
    assert {name: listed["checkout"][name] for name in ("state", "recommendation", "variant_key", "title")} == {
        name: decision[name] for name in ("state", "recommendation", "variant_key", "title")
    }
    assert decision["summary"] == listed["checkout"]["summary"]
    assert await form_verdicts(database, service) == 0  # it has ended long ago


async def test_verdict_on_a_running_experiment_is_formed_again_after_a_while(
    service: Service, database: Database
) -> None:
    experiment = await service.create_experiment(end_date=None)
    now = utc_now()
    later = now + dt.timedelta(seconds=SECONDS_BETWEEN_VERDICTS + 1)

    assert [await form_verdicts(database, service, moment) for moment in (now, now, later, later)] == [1, 0, 1, 0]
    path = f"/experiments/{experiment['id']}/"
    changed = await service.patch(path, {"description": "Other"})
    assert changed.json()["verdict"] is None
    assert await form_verdicts(database, service, now) == 1
    assert (await service.read(path))["verdict"] is not None


async def test_new_verdict_is_no_change_for_if_match_and_is_one_for_readers(
    service: Service, database: Database
) -> None:
    experiment = await clear_win(service)
    path = f"/experiments/{experiment['id']}/"
    before = await service.get(path)
    await form_verdicts(database, service)

    after = await service.request("GET", path, headers={"If-None-Match": before.headers["ETag"]})
    again = await service.request("GET", path, headers={"If-None-Match": after.headers["ETag"]})
    mine = {"If-Match": before.headers["ETag"]}
    changed = await service.request("PATCH", path, json={"name": "Mine"}, headers=mine)
    refused = await service.request("PATCH", path, json={"name": "Theirs"}, headers=mine)

    assert (after.status_code, again.status_code) == (200, 304)
    assert after.json()["verdict"]["recommendation"] == "ship"
    assert (changed.status_code, refused.status_code) == (200, 412)


async def test_data_that_cannot_be_counted_have_no_verdict(service: Service, database: Database) -> None:
    experiment = await service.create_experiment(stats_config={"baseline_variant_key": "gone"})

    assert [await form_verdicts(database, service) for _ in range(2)] == [1, 0]
    assert (await service.read(f"/experiments/{experiment['id']}/"))["verdict"] is None
    later = utc_now() + dt.timedelta(seconds=SECONDS_BETWEEN_LATE_VERDICTS + 1)
    assert [await form_verdicts(database, service, later) for _ in range(2)] == [1, 0]


async def test_late_events_change_the_verdict_on_what_has_ended_lately(service: Service, database: Database) -> None:
    now = utc_now()
    ended = await clear_win(service, end_date=(now - dt.timedelta(days=2)).isoformat())
    await form_verdicts(database, service, now)
    path = f"/experiments/{ended['id']}/"
    before = (await service.read(path))["verdict"]
    await send(service, viewed(400, 360, "control"))

    hour = dt.timedelta(seconds=SECONDS_BETWEEN_LATE_VERDICTS + 1)
    formed = [await form_verdicts(database, service, moment) for moment in (now, now + hour, now + hour)]

    after, decision = (await service.read(path))["verdict"], await service.read(f"{path}decision/")
    assert formed == [0, 1, 0]
    assert before["variant_key"] == "test"
    assert after["summary"] == decision["summary"] != before["summary"]
    assert await form_verdicts(database, service, now + dt.timedelta(days=8)) == 0


async def test_archived_experiment_has_its_verdict(service: Service, database: Database) -> None:
    ended = await clear_win(service)
    await service.create_experiment(feature_flag_key="archived", archived=True)
    assert await form_verdicts(database, service) == 2
    path = f"/experiments/{ended['id']}/"
    verdict = (await service.read(path))["verdict"]

    shown = [(await service.post(f"{path}{action}/", {})).json()["verdict"] for action in ("archive", "unarchive")]

    assert verdict["recommendation"] == "ship"
    assert shown == [verdict, verdict]


@pytest.mark.each_database
@pytest.mark.parametrize("failure", [StillCounting(), TimeoutError()], ids=["still counting", "out of time"])
async def test_failure_to_count_says_nothing_about_an_experiment(
    service: Service, database: Database, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    running = await clear_win(service, end_date=None)
    await form_verdicts(database, service)
    ended = await service.create_experiment(feature_flag_key="ended")
    before = (await service.read(f"/experiments/{running['id']}/"))["verdict"]

    async def fail(*_: object) -> None:
        raise failure

    later = utc_now() + dt.timedelta(seconds=SECONDS_BETWEEN_VERDICTS + 1)
    with monkeypatch.context() as patch:
        patch.setattr(ScorecardService, "decision", fail)
        assert await form_verdicts(database, service, later) == 2

    assert before["recommendation"]
    assert (await service.read(f"/experiments/{running['id']}/"))["verdict"] == before
    assert await form_verdicts(database, service, later) == 1
    assert (await service.read(f"/experiments/{ended['id']}/"))["verdict"] is not None


async def test_verdict_from_before_the_end_is_followed_until_one_from_after_it(
    service: Service, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the server was away for longer than what has ended lately is followed."""
    now = utc_now()
    ended = await clear_win(service, end_date=(now - dt.timedelta(days=10)).isoformat())
    path = f"/experiments/{ended['id']}/"
    await form_verdicts(database, service, now - dt.timedelta(days=11))
    early = (await service.read(path))["verdict"]

    async def fail(*_: object) -> None:
        raise StillCounting

    with monkeypatch.context() as patch:
        patch.setattr(ScorecardService, "decision", fail)
        assert [await form_verdicts(database, service, now) for _ in range(2)] == [1, 1]

    assert [await form_verdicts(database, service, now) for _ in range(2)] == [1, 0]
    assert early["decided_at"] < ended["end_date"] < (await service.read(path))["verdict"]["decided_at"]


@pytest.mark.parametrize(
    "failure", [TimeoutError(), asyncpg.QueryCanceledError("timeout")], ids=["in time", "by the database"]
)
async def test_an_ended_experiment_that_cannot_be_counted_in_time_waits_longer_each_time(
    service: Service, database: Database, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    ended = await clear_win(service, end_date=(utc_now() - dt.timedelta(days=10)).isoformat())
    now, materializer = SimpleNamespace(seconds=0.0), Materializer(database)
    materializer.verdict_failures = CountingFailures(clock=lambda: now.seconds)

    async def fail(*_: object) -> None:
        raise failure

    looked = []
    with monkeypatch.context() as patch:
        patch.setattr(ScorecardService, "decision", fail)
        for seconds in (0.0, 10.0, 20.0, 30.0, 79.0, 81.0, 200.0, 202.0):
            now.seconds = seconds
            if await form_verdicts(database, service, materializer=materializer):
                looked.append(seconds)
    now.seconds = 5000.0

    assert looked == [0, 10, 20, 81, 202]
    assert await form_verdicts(database, service, materializer=materializer) == 1
    assert (await service.read(f"/experiments/{ended['id']}/"))["verdict"]["recommendation"] == "ship"


async def test_long_first_count_has_its_verdict_soon_after_it_is_done(
    service: Service, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await clear_win(service)
    now, materializer = SimpleNamespace(seconds=0.0), Materializer(database)
    materializer.verdict_failures = CountingFailures(clock=lambda: now.seconds)

    async def go_on(*_: object) -> None:
        materializer.progress.reach(service.project_id, "facts", int(now.seconds))
        raise TimeoutError

    with monkeypatch.context() as patch, materializer.progress.measuring(service.project_id, {"facts": (0, 900)}):
        patch.setattr(ScorecardService, "decision", go_on)
        looked = [
            await form_verdicts(database, service, materializer=materializer) for _ in range(2)
        ]  # others come first
        for seconds in range(30, 900, 30):
            now.seconds = seconds
            looked.append(await form_verdicts(database, service, materializer=materializer))
        looked.append(await form_verdicts(database, service, materializer=materializer))  # which gets no further
    assert set(looked) == {1}
    assert [await form_verdicts(database, service, materializer=materializer) for _ in range(2)] == [1, 0]


async def test_change_of_an_experiment_ends_the_wait_for_its_verdict(
    service: Service, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = await clear_win(service)
    materializer = Materializer(database)
    materializer.verdict_failures = CountingFailures(clock=lambda: 0.0)

    async def fail(*_: object) -> None:
        raise TimeoutError

    with monkeypatch.context() as patch:
        patch.setattr(ScorecardService, "decision", fail)
        looked = [await form_verdicts(database, service, materializer=materializer) for _ in range(4)]
    await service.patch(f"/experiments/{ended['id']}/", {"description": "With a lighter metric."})

    assert looked == [1, 1, 1, 0]
    assert await form_verdicts(database, service, materializer=materializer) == 1


async def test_outage_does_not_delay_the_verdict_after_it(
    service: Service, database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await clear_win(service)
    materializer = Materializer(database)

    async def fail(*_: object) -> None:
        raise ClickHouseUnavailable("refused")

    with monkeypatch.context() as patch:
        patch.setattr(ScorecardService, "decision", fail)
        looked = [await form_verdicts(database, service, materializer=materializer) for _ in range(5)]

    assert looked == [1] * 5
    assert not caplog.records  # it is reported elsewhere, and no fault of the program
    assert [await form_verdicts(database, service, materializer=materializer) for _ in range(2)] == [1, 0]


async def test_changed_shared_metric_changes_the_verdict_on_what_has_ended_long_ago(
    service: Service, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    bought, viewed_it = ({"metric_type": "mean", "source": {"kind": "EventsNode", "event": one}} for one in "ab")
    saved = (await service.post("/experiment_saved_metrics/", {"name": "Bought", "query": bought})).json()
    await service.create_experiment(feature_flag_key="other")
    ended = await service.create_experiment(filters={}, saved_metrics_ids=[{"id": saved["id"]}])
    assert [await form_verdicts(database, service) for _ in range(2)] == [2, 0]
    path = f"/experiments/{ended['id']}/"
    before = (await service.read(path))["verdict"]

    await service.patch(f"/experiment_saved_metrics/{saved['id']}/", {"name": "Viewed", "query": viewed_it})

    async def fail(*_: object) -> None:
        raise StillCounting

    with monkeypatch.context() as patch:
        patch.setattr(ScorecardService, "decision", fail)
        assert [await form_verdicts(database, service) for _ in range(2)] == [1, 1]
    assert [await form_verdicts(database, service) for _ in range(2)] == [1, 0]
    assert (await service.read(path))["verdict"]["decided_at"] > before["decided_at"]


async def test_verdict_of_a_clock_that_was_ahead_is_formed_again(service: Service, database: Database) -> None:
    await service.create_experiment(end_date=None)
    now = utc_now()

    moments = (now + dt.timedelta(days=400), now, now)
    assert [await form_verdicts(database, service, moment) for moment in moments] == [1, 1, 0]


async def test_experiments_that_wait_longest_have_their_verdict_first(service: Service, database: Database) -> None:
    """A background that is interrupted again and again, in a project with many experiments, reaches all of them."""
    ids = [(await service.create_experiment(end_date=None, feature_flag_key=key))["id"] for key in ("a", "b")]
    now = utc_now()
    assert await form_verdicts(database, service, now - dt.timedelta(days=1)) == 2
    reached = []
    for hours in range(2):
        steps = await verdict_steps(database, service, now + dt.timedelta(hours=hours))
        await anext(steps)
        await steps.aclose()
        times = {one: (await service.read(f"/experiments/{one}/"))["verdict"]["decided_at"] for one in ids}
        reached.append(max(ids, key=times.__getitem__))

    assert reached == ids
