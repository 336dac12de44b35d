"""With one connection of each pool left, everything still works: who holds one must not wait for another.

Where several did, each with its first one, all would wait for the second one until their time is over.
"""

import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.datastructures import State

from app.accounts.projects.repository import AccountRepository
from app.db.database import Database
from app.db.models import utc_now
from app.experiments.phases.dependencies import build_upkeep
from app.experiments.verdicts.dependencies import build_verdicts
from app.experiments.webhooks.delivery import Deliverer
from app.experiments.webhooks.dependencies import build_watch
from app.experiments.webhooks.sending import Sender
from app.operations.maintenance.retention import RetentionService
from app.operations.maintenance.scheduler import MaintenanceScheduler
from app.operations.maintenance.wiring import build_maintenance
from tests.conftest import settings_for
from tests.experiments.phases.test_circuit_breakers import METRIC, breaker
from tests.experiments.webhooks.test_webhooks import LOOPBACK, deliver_due
from tests.support.application import routes_of_projects
from tests.support.one_of_everything import call, make_objects
from tests.support.service import Service, event, exposure
from tests.support.upkeep import NOON, after, upkeep_of, written
from tests.support.webhook_receiver import receiving

pytestmark = [pytest.mark.own_database, pytest.mark.one_database("postgresql")]

BOUGHT = {"kind": "EventsNode", "event": "purchase"}
BY_PLAN = {"breakdowns": [{"property": "plan"}]}
IS_TEAM: Any = {"key": "plan", "value": "team", "type": "person"}


@pytest.fixture
async def application(built_application: FastAPI, database_url: str) -> AsyncIterator[FastAPI]:
    settings = settings_for(database_url).model_copy(update={"database_pool_size": 2, "database_pool_timeout": 2.0})
    built_application.state = State({"settings": settings, "rate_limiter": None})
    async with built_application.router.lifespan_context(built_application):
        yield built_application


@contextlib.asynccontextmanager
async def one_connection_left(database: Database) -> AsyncIterator[None]:
    async with database.engine.connect(), database.reading_engine.connect():
        yield


def scheduler_of(application: FastAPI) -> MaintenanceScheduler:
    database, materializer = application.state.database, application.state.materializer
    return MaintenanceScheduler(
        database,
        lambda project: build_maintenance(database, materializer, project),
        10,
        upkeep=lambda project: build_upkeep(database, materializer, project),
        watch=lambda project: build_watch(database, materializer, project),
        verdicts=lambda project: build_verdicts(database, materializer, project),
    )


async def set_the_scene(service: Service, webhook: str) -> None:
    """Make experiments of every kind of metric, that run by themselves and are told of, and persons to erase."""
    await service.post("/experiment_webhooks/", {"url": webhook})
    cohort = (await service.post("/cohorts/", {"name": "team", "groups": [{"properties": [IS_TEAM]}]})).json()
    action = (await service.post("/actions/", {"name": "buys", "steps": [{"event": "purchase"}]})).json()
    in_cohort = {"key": "id", "type": "cohort", "value": cohort["id"]}
    typed: list[Any] = [
        METRIC,
        {"metric_type": "funnel", "series": [{**BOUGHT, "properties": [IS_TEAM]}], "breakdownFilter": BY_PLAN},
        {"metric_type": "ratio", "numerator": BOUGHT, "denominator": {**BOUGHT, "properties": [in_cohort]}},
        {"metric_type": "mean", "source": {**BOUGHT, "math": "unique_session"}, "upper_bound_percentile": 0.9},
        {"metric_type": "quantile", "source": BOUGHT, "quantile_level": 0.5},
    ]
    await service.create_experiment(
        end_date=None,
        filters={"insight": "FUNNELS", "events": [{"id": "purchase", "properties": [in_cohort]}]},
        metrics=typed,
        circuit_breakers=[breaker("notify")],
        stats_config={"cuped": {"enabled": True}},
        exposure_criteria={"activation_config": {"kind": "ActionsNode", "id": action["id"]}},
    )
    later = {"start_at": written(NOON), "ramp": "default"}
    await service.create_experiment(start_date=None, end_date=None, feature_flag_key="later", scheduling_config=later)
    stories = []
    for variant in ("control", "test"):
        for number in range(60):
            who = f"{variant} {number}"
            plan = {"plan": "team", "$set": {"plan": "team"}, "$session_id": who}
            stories += [exposure(who, variant), event("purchase", who, properties=plan)]
    await service.capture(*stories)
    [erased] = (await service.read("/persons/", distinct_id="test 0"))["results"]
    await service.delete(f"/persons/{erased['id']}/?delete_events=true")


async def prune(application: FastAPI, service: Service) -> None:
    database, materializer = application.state.database, application.state.materializer
    async with database.read() as session:
        [project] = [one for one in await AccountRepository(session).projects() if one.id == service.project_id]
    retention = RetentionService(database, lambda of: build_maintenance(database, materializer, of), project)
    assert await retention.preview(utc_now()) == await retention.prune(utc_now()) > 0


async def test_background_needs_one_connection_of_each_pool(
    service: Service, application: FastAPI, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    scheduler, deliverer = scheduler_of(application), Deliverer(database, Sender(LOOPBACK))
    async with receiving() as receiver:
        await set_the_scene(service, receiver.url)
        async with one_connection_left(database):
            with caplog.at_level(logging.WARNING, logger="abacus"):
                await scheduler.run_once()
                await scheduler.remove_unused()
                await deliver_due(deliverer)
                await deliverer.clean()
                await application.state.cookieless.forget()
                await (await upkeep_of(service, database)).step(after(1))
                await prune(application, service)
    listed = (await service.read("/experiments/"))["results"]

    assert [record.getMessage() for record in caplog.records if record.name == "abacus"] == []
    assert receiver.received
    assert {one["feature_flag_key"]: one["verdict"] is not None for one in listed} == {"checkout": True, "later": False}


async def test_every_route_needs_one_connection_of_each_pool(service: Service, database: Database) -> None:
    ids = await make_objects(service, "everything")
    order = sorted(routes_of_projects(), key=lambda route: (route[0] == "DELETE", route))
    async with one_connection_left(database):
        answers = {route: (await call(service, route, ids)).status_code for route in order}

    assert {route: status for route, status in answers.items() if status >= 500} == {}
