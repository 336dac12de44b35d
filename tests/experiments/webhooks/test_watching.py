"""Receivers learn what the data show, and what time and flags do, once for each change of it."""

import datetime as dt
import json
from typing import Any

import pytest
from sqlalchemy import select

from app.accounts.projects.repository import AccountRepository
from app.db.database import Database
from app.db.models import Experiment, Webhook, WebhookDelivery, utc_now
from app.experiments.counting.service import ExperimentCounter
from app.experiments.webhooks.dependencies import build_watch
from app.experiments.webhooks.watching import SECONDS_BETWEEN_CHECKS
from app.metrics.facts.materializer import Materializer
from app.operations.maintenance.scheduler import MaintenanceScheduler
from app.operations.maintenance.wiring import build_maintenance
from tests.experiments.phases.test_circuit_breakers import harmed_experiment
from tests.support.service import Json, Service, exposure

TARGET = {
    "kind": "ExperimentMetric",
    "uuid": "6a2f6c52-0c43-4f0f-9d4c-3a2f5f3f7d11",
    "name": "Buyers",
    "metric_type": "mean",
    "source": {"kind": "EventsNode", "event": "purchase", "math": "dau"},
}


async def watch(service: Service, database: Database, seconds: float = 0) -> None:
    async with database.read() as session:
        projects = await AccountRepository(session).projects()
    [project] = [one for one in projects if one.id == service.project_id]
    now = utc_now() + dt.timedelta(seconds=seconds)
    async for _ in build_watch(database, Materializer(database), project).steps(now):
        pass


async def told(service: Service, database: Database) -> list[tuple[str, Json]]:
    """Return what waits to be delivered, oldest first."""
    async with database.read() as session:
        query = select(WebhookDelivery.event, WebhookDelivery.body).join(Webhook).order_by(WebhookDelivery.id)
        rows = await session.execute(query.where(Webhook.project_id == service.project_id))
        return [(name, json.loads(body)) for name, body in rows]


async def listen(service: Service, **fields: Any) -> None:
    assert (await service.post("/experiment_webhooks/", {"url": "http://localhost:1/", **fields})).status_code == 201


async def harmful(service: Service, **fields: Any) -> Json:
    return await harmed_experiment(service, filters={}, metrics=[TARGET], **fields)


@pytest.mark.one_database
async def test_what_the_data_show_is_told_once(service: Service, database: Database) -> None:
    experiment = await harmful(service)
    await listen(service)

    for step in range(3):
        await watch(service, database, step * (SECONDS_BETWEEN_CHECKS + 1))

    found = dict(await told(service, database))
    names = [name for name, _ in await told(service, database)]
    assert sorted(names) == sorted([*["experiment.info.significance"] * 2, "experiment.decision.rollback"])
    significance = found["experiment.info.significance"]["data"]
    assert (significance["variant_key"], significance["direction"]) == ("test", "decrease")
    assert significance["relative_sequential_interval"][1] < -0.1
    rollback = found["experiment.decision.rollback"]
    assert (rollback["data"]["variant_key"], rollback["experiment"]["id"]) == ("control", experiment["id"])
    assert "anytime-valid" in rollback["data"]["rule"]

    await service.capture(*[exposure(f"more-{number}", "test") for number in range(400)])
    await watch(service, database, 4 * SECONDS_BETWEEN_CHECKS)

    name, warning = (await told(service, database))[3]
    assert (name, warning["data"]["warning"]) == ("experiment.warning", "srm")


@pytest.mark.one_database
async def test_a_single_look_is_never_what_is_told(service: Service, database: Database) -> None:
    """Where ``stats_config`` decides by one look, receivers are told by the anytime-valid interval all the same."""
    await harmful(service, stats_config={"sequential": {"enabled": False}})
    await listen(service)

    await watch(service, database)

    [rule] = [body["data"]["rule"] for name, body in await told(service, database) if "decision" in name]
    assert "anytime-valid" in rule


async def test_nothing_is_decided_in_the_grace_period(service: Service, database: Database) -> None:
    await harmful(service, decision_criteria={"minimum_runtime_days": 3650})
    await listen(service)

    await watch(service, database)

    assert await told(service, database) == []


@pytest.mark.one_database
async def test_experiment_that_takes_too_long_is_not_counted_at_every_step(
    service: Service, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await harmful(service)
    await listen(service)
    tried = []

    async def take_too_long(_counter: ExperimentCounter, experiment: Experiment) -> None:
        tried.append(experiment.id)
        raise TimeoutError

    with monkeypatch.context() as patched:
        patched.setattr(ExperimentCounter, "count", take_too_long)
        for seconds in (0, 10, SECONDS_BETWEEN_CHECKS + 1):
            await watch(service, database, seconds)
    await watch(service, database, 3 * SECONDS_BETWEEN_CHECKS)

    assert len(tried) == 2
    assert "experiment.decision.rollback" in dict(await told(service, database))


async def test_time_and_flags_are_told_as_requests_are(service: Service, database: Database) -> None:
    await listen(service, events=["experiment.launched", "experiment.paused", "experiment.ended"])
    start, end = (utc_now() + dt.timedelta(hours=hours) for hours in (1, 2))
    dates = {"start_date": start.isoformat(), "end_date": end.isoformat()}
    experiment = await service.create_experiment(**dates)
    running = await service.create_experiment(feature_flag_key="other", end_date=None)

    for _ in range(2):
        await watch(service, database, 3600 + 60)
    await service.patch(f"/feature_flags/{running['feature_flag']}/", {"active": False})
    for _ in range(2):
        await watch(service, database, 7200 + 60)

    found = [(name, body["experiment"]["id"]) for name, body in await told(service, database)]
    assert found == [
        ("experiment.launched", running["id"]),
        ("experiment.launched", experiment["id"]),
        ("experiment.ended", experiment["id"]),
        ("experiment.paused", running["id"]),
    ]


@pytest.mark.own_database
@pytest.mark.one_database
async def test_background_refresh_watches(service: Service, database: Database) -> None:
    await harmful(service)
    await listen(service, events=["experiment.decision.rollback"])
    materializer = Materializer(database)

    await MaintenanceScheduler(
        database,
        lambda project: build_maintenance(database, materializer, project),
        interval=10,
        watch=lambda project: build_watch(database, materializer, project),
    ).run_once()

    assert [name for name, _ in await told(service, database)] == ["experiment.decision.rollback"]


async def test_a_webhook_is_not_told_what_happened_before_it(service: Service, database: Database) -> None:
    await listen(service)
    await service.create_experiment(end_date=None)
    [webhook] = (await service.read("/experiment_webhooks/"))["results"]
    path = f"/experiment_webhooks/{webhook['id']}/"
    await service.patch(path, {"active": False})
    await service.patch(f"/experiments/{(await service.read('/experiments/'))['results'][0]['id']}/", {"name": "New"})

    await service.patch(path, {"active": True})
    await watch(service, database)

    changes = [name for name, _ in await told(service, database) if "warning" not in name]
    assert changes == ["experiment.created", "experiment.launched"]
