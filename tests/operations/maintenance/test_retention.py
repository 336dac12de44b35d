"""Old events are removed without changing results."""

import datetime as dt
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select

from app.db.database import Database
from app.db.models import Event, Project
from app.operations.maintenance.retention import RetentionService
from app.operations.maintenance.wiring import build_maintenance
from tests.conftest import new_service
from tests.support.service import FUNNEL, TREND, Service, event, exposure

pytestmark = [pytest.mark.one_database, pytest.mark.own_database, pytest.mark.clickhouse]

CUTOFF = dt.datetime(2022, 12, 1, tzinfo=dt.UTC)
WEEKLY = {"insight": "TRENDS", "events": [{"id": "$pageview", "order": 0, "math": "weekly_active"}]}


async def retention_of(application: FastAPI, project_id: int) -> RetentionService:
    database: Database = application.state.database
    async with database.read() as session:
        project = await session.get_one(Project, project_id)
    return RetentionService(
        database, lambda of: build_maintenance(database, application.state.materializer, of), project
    )


async def stored_events(database: Database) -> int:
    async with database.read() as session:
        return await session.scalar(select(func.count()).select_from(Event)) or 0


async def two_variants(service: Service, month: str = "2022-11") -> None:
    await service.capture(
        *(
            one
            for number in range(20)
            for variant in ("control", "test")
            for one in (
                exposure(f"{variant}-{number}", variant, f"{month}-02T09:00:00Z"),
                event("$pageview", f"{variant}-{number}", f"{month}-02T10:00:00Z", variant=variant),
                *(
                    [event("purchase", f"{variant}-{number}", f"{month}-03T10:00:00Z", variant=variant)]
                    if number < (5 if variant == "control" else 9)
                    else []
                ),
            )
        )
    )


async def answers(service: Service, experiment: dict[str, Any]) -> list[object]:
    path = f"/experiments/{experiment['id']}"
    analysis = await service.read(f"{path}/analysis/")
    return [
        await service.read(f"{path}/results/"),
        await service.read(f"{path}/results/", refresh="true"),
        await service.read(f"{path}/secondary_results/", id=0),
        await service.read(f"{path}/exposures/"),
        analysis["metrics"],
    ]


@pytest.mark.each_database
@pytest.mark.parametrize("attribution", ["events", "exposure"])
async def test_removal_of_events_changes_no_result(
    application: FastAPI, service: Service, database: Database, attribution: str
) -> None:
    await two_variants(service)
    secondary = [{"name": "Views", "filters": TREND}]
    funnel = await service.create_experiment(secondary_metrics=secondary, parameters={"attribution": attribution})
    asked_before = await answers(service, funnel)
    await service.capture(event("later", "ann", "2022-12-24T10:00:00Z"))
    retention = await retention_of(application, service.project_id)

    assert await retention.preview(CUTOFF) == await retention.prune(CUTOFF) == 94

    assert await stored_events(database) == 1
    assert await answers(service, funnel) == asked_before
    assert await retention.prune(CUTOFF) == 0


@pytest.mark.parametrize("attribution", ["events", "exposure"])
async def test_results_that_were_never_read_do_not_change_either(
    application: FastAPI, service: Service, attribution: str
) -> None:
    await two_variants(service)
    await service.patch("/", {"default_attribution": attribution})
    experiment = await service.create_experiment()

    await (await retention_of(application, service.project_id)).prune(CUTOFF)

    counted = await service.read(f"/experiments/{experiment['id']}/results/")
    assert {variant["key"]: variant["success_count"] for variant in counted["variants"]} == {"control": 5, "test": 9}


@pytest.mark.each_database
async def test_metric_over_removed_events_is_refused(application: FastAPI, service: Service) -> None:
    await two_variants(service)
    await service.create_experiment()
    await (await retention_of(application, service.project_id)).prune(CUTOFF)
    late = await service.create_experiment(feature_flag_key="late", filters=TREND)
    weekly = await service.create_experiment(feature_flag_key="weekly", filters=WEEKLY)

    for experiment in (late, weekly):
        refused = await service.get(f"/experiments/{experiment['id']}/results/")

        assert refused.status_code == 400
        assert refused.json()["code"] == "events_removed"
        assert "2022-12-01T00:00:00+00:00" in refused.json()["detail"]


@pytest.mark.each_database
async def test_metric_over_removed_events_does_not_affect_others(application: FastAPI, service: Service) -> None:
    await two_variants(service)
    experiment = await service.create_experiment()
    [before] = (await service.read(f"/experiments/{experiment['id']}/analysis/"))["metrics"]
    await (await retention_of(application, service.project_id)).prune(CUTOFF)
    late = [{"name": "Sign-ups", "filters": {**TREND, "events": [{"id": "sign-up", "order": 0}]}}]
    await service.patch(f"/experiments/{experiment['id']}/", {"secondary_metrics": late})

    first, added = (await service.read(f"/experiments/{experiment['id']}/analysis/"))["metrics"]

    assert first == before
    assert added["status"] == "unavailable"
    assert "2022-12-01T00:00:00+00:00" in added["detail"]


async def test_experiment_over_removed_events_can_be_ended(application: FastAPI, service: Service) -> None:
    await two_variants(service)
    await (await retention_of(application, service.project_id)).prune(CUTOFF)
    experiment = await service.create_experiment(end_date=None)

    ended = await service.patch(f"/experiments/{experiment['id']}/", {"end_date": "2022-12-15T00:00:00Z"})

    assert ended.status_code == 200
    health = await service.read(f"/experiments/{experiment['id']}/health/")
    assert [finding["code"] for finding in health["findings"]] == ["EVENTS_REMOVED"]


async def test_later_experiments_are_counted_as_before(application: FastAPI, service: Service) -> None:
    await two_variants(service)
    await (await retention_of(application, service.project_id)).prune(CUTOFF)
    await two_variants(service, "2022-12")
    experiment = await service.create_experiment(start_date="2022-12-01T00:00:00Z", end_date="2022-12-15T00:00:00Z")

    counted = await service.read(f"/experiments/{experiment['id']}/results/")

    assert {variant["key"]: variant["success_count"] for variant in counted["variants"]} == {"control": 5, "test": 9}


async def test_late_events_that_come_after_the_removal_count(application: FastAPI, service: Service) -> None:
    await two_variants(service)
    experiment = await service.create_experiment()
    await (await retention_of(application, service.project_id)).prune(CUTOFF)

    await service.capture(event("purchase", "control-19", "2022-11-04T10:00:00Z", variant="control"))

    counted = await service.read(f"/experiments/{experiment['id']}/results/")
    assert {variant["key"]: variant["success_count"] for variant in counted["variants"]} == {"control": 6, "test": 9}


async def test_unused_series_are_removed_with_their_events(application: FastAPI, service: Service) -> None:
    await two_variants(service)
    experiment = await service.create_experiment()
    await service.read(f"/experiments/{experiment['id']}/results/")
    await service.patch(f"/experiments/{experiment['id']}/", {"filters": {**FUNNEL, "funnel_window_days": 3}})
    other = await service.create_experiment(feature_flag_key="other", filters=TREND)
    await service.get(f"/experiments/{other['id']}/results/")
    await service.delete(f"/experiments/{other['id']}/")
    await (await retention_of(application, service.project_id)).prune(CUTOFF)

    again = await service.create_experiment(feature_flag_key="again", filters=TREND)
    refused = await service.get(f"/experiments/{again['id']}/results/")

    assert refused.json()["code"] == "events_removed"
    assert (await service.read(f"/experiments/{experiment['id']}/results/"))["variants"]


async def test_removal_keeps_events_of_other_projects(
    application: FastAPI, service: Service, database: Database
) -> None:
    await two_variants(service)
    other = await new_service(service.client, database, beside=service)
    before = await stored_events(database)

    assert await (await retention_of(application, other.project_id)).prune(CUTOFF) == 0
    assert await stored_events(database) == before


@pytest.mark.each_database
async def test_a_new_breakdown_needs_the_events(application: FastAPI, service: Service) -> None:
    await two_variants(service)
    purchases = {"metric_type": "mean", "source": {"kind": "EventsNode", "event": "purchase"}}
    experiment = await service.create_experiment(filters={}, metrics=[purchases])
    path = f"/experiments/{experiment['id']}/analysis/"
    before = (await service.read(path, breakdown="$feature_flag"))["metrics"]

    await (await retention_of(application, service.project_id)).prune(CUTOFF)
    refused = await service.get(path, breakdown="$feature_flag")

    assert (refused.status_code, refused.json()["code"]) == (400, "events_removed")
    assert (await service.read(path))["metrics"] == before


async def test_breakdown_that_a_metric_defines_does_not_need_the_events_any_more(
    application: FastAPI, service: Service
) -> None:
    await two_variants(service)
    by_flag = {"breakdowns": [{"property": "$feature_flag"}]}
    purchases = {"metric_type": "mean", "source": {"kind": "EventsNode", "event": "purchase"}}
    experiment = await service.create_experiment(filters={}, metrics=[{**purchases, "breakdownFilter": by_flag}])

    await (await retention_of(application, service.project_id)).prune(CUTOFF)
    [metric] = (await service.read(f"/experiments/{experiment['id']}/analysis/"))["metrics"]

    [only] = metric["breakdown"]["values"]
    assert (only["value"], only["analysis"]["variants"]) == ("checkout", metric["analysis"]["variants"])
