"""The background refresh is shared fairly, and gives up on what fails."""

import asyncio
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.db.database import Database
from app.experiments.phases.dependencies import build_upkeep
from app.metrics.counting.fact_query import FactQuery
from app.metrics.counting.service import FactService
from app.metrics.facts.materializer import Materializer
from app.metrics.failures import ATTEMPTS, CountingFailures
from app.operations.maintenance.scheduler import MaintenanceScheduler
from app.operations.maintenance.wiring import build_maintenance
from tests.experiments.phases.test_circuit_breakers import breaker, harmed_experiment
from tests.support.service import FUNNEL, TREND, Service, event

pytestmark = [pytest.mark.one_database, pytest.mark.clickhouse]


async def test_projects_take_turns(service: Service, database: Database) -> None:
    """Two turns: the pieces of a project that take longer than its turn go on after those of the others."""
    order = []

    class Pieces(MaintenanceScheduler):
        async def _steps(self, project: Any, failed: set[int]) -> AsyncGenerator[None]:
            for _ in range(2):
                order.append(project)
                yield

    scheduler = Pieces(database, cast("Any", None), 10, turn=0.0)
    for project_id in (1, 2):
        scheduler._refreshes[project_id] = scheduler._refresh(cast("Any", project_id))
    while scheduler._refreshes:
        await scheduler._take_turns()

    assert order == [1, 2, 1, 2]


@pytest.mark.each_database
async def test_long_count_of_one_project_does_not_delay_another(database: Database) -> None:
    released, order = asyncio.Event(), []

    class Pieces(MaintenanceScheduler):
        async def _steps(self, project: Any, failed: set[int]) -> AsyncGenerator[None]:
            if project == 1:
                await released.wait()
            order.append(project)
            yield

    scheduler = Pieces(database, cast("Any", None), 10, turn=0.01)
    for project_id in (1, 2):
        scheduler._refreshes[project_id] = scheduler._refresh(cast("Any", project_id))
    while 2 in scheduler._refreshes:
        await scheduler._take_turns()
    released.set()
    while scheduler._refreshes:
        await scheduler._take_turns()

    assert order == [2, 1]


def test_failing_metric_is_tried_ever_more_rarely() -> None:
    now = SimpleNamespace(seconds=0.0)
    failures = CountingFailures(clock=lambda: now.seconds)
    tried = []
    for second in range(1000):
        now.seconds = second
        if failures.is_due(1, "digest"):
            tried.append(second)
            failures.note(1, "primary", "digest", "Too slow.")

    assert tried == [0, 1, 2, 62, 182, 422, 902]
    assert [one.metric_id for one in failures.given_up(1)] == ["primary"]
    failures.keep_only(1, {"another"})
    assert failures.given_up(1) == []


@pytest.mark.own_database
@pytest.mark.parametrize("which", ["primary", "secondary-0"])
async def test_metric_that_cannot_be_counted_is_reported_by_health(
    service: Service, database: Database, application: Any, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    secondary = [{"name": "Purchases", "filters": {**TREND, "events": [{"id": "purchase", "type": "events"}]}}]
    experiment = await service.create_experiment(end_date=None, filters=FUNNEL, secondary_metrics=secondary)
    await service.capture(*[event("$pageview", variant, variant=variant) for variant in ("control", "test")])
    materializer: Materializer = application.state.materializer
    scheduler = MaintenanceScheduler(
        database, lambda project: build_maintenance(database, materializer, project), interval=10
    )
    count, attempts = FactService.count, 0

    async def fail_on_one(facts: FactService, query: FactQuery[Any], *arguments: Any, **options: Any) -> Any:
        nonlocal attempts
        kind = "samples" if which == "secondary-0" else "funnel"
        if query.parameters[0] == kind:
            attempts += 1
            raise TimeoutError
        return await count(facts, query, *arguments, **options)

    monkeypatch.setattr(FactService, "count", fail_on_one)
    for _ in range(ATTEMPTS + 2):
        await scheduler.run_once()
    assert attempts == ATTEMPTS
    if which == "secondary-0":
        monkeypatch.setattr(FactService, "count", count)

    health = await service.read(f"/experiments/{experiment['id']}/health/")

    [finding] = [one for one in health["findings"] if one["code"] == "METRIC_NOT_COUNTED"]
    assert (health["status"], finding["evidence"]) == ("warning", {"metric_id": which})
    assert "takes longer than 30 seconds" in finding["detail"]


@pytest.mark.own_database
async def test_refresh_follows_schedules_and_lets_circuit_breakers_act(service: Service, database: Database) -> None:
    materializer = Materializer(database)
    scheduler = MaintenanceScheduler(
        database,
        lambda project: build_maintenance(database, materializer, project),
        interval=10,
        upkeep=lambda project: build_upkeep(database, materializer, project),
    )
    ramp = [{"after_hours": 0, "rollout_percentage": 5}, {"after_hours": 24, "rollout_percentage": 50}]
    experiment = await harmed_experiment(service, breaker("notify"), scheduling_config={"ramp": ramp})

    for _ in range(2):
        await scheduler.run_once()

    actions = (await service.read(f"/experiments/{experiment['id']}/"))["automatic_actions"]
    assert [one["kind"] for one in actions] == ["ramped", "ramped", "circuit_breaker"]
