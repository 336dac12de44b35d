"""The metrics that Prometheus scrapes."""

import time
from typing import NoReturn

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from app.db.database import Database
from app.db.models import Project
from app.metrics.facts.materializer import Materializer
from app.operations.maintenance.scheduler import MaintenanceScheduler
from app.operations.maintenance.wiring import build_maintenance
from tests.conftest import settings_for
from tests.support.service import TREND, Service, event

pytestmark = [pytest.mark.one_database, pytest.mark.own_database]

TOKEN = "metrics-token"  # noqa: S105  # of these tests


@pytest.fixture(autouse=True)
def _guarded(application: FastAPI, database_url: str) -> None:
    application.state.settings = settings_for(database_url).model_copy(update={"metrics_token": SecretStr(TOKEN)})


class Scrape:
    """The samples of one answer."""

    def __init__(self, text: str) -> None:
        self._samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def __call__(self, name: str, **labels: str) -> float:
        """Return the sum of the samples with this name and these labels."""
        return sum(
            sample.value for sample in self._samples if sample.name == name and labels.items() <= sample.labels.items()
        )


async def scrape(client: httpx.AsyncClient) -> Scrape:
    response = await client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    return Scrape(response.text)


async def test_metrics_require_the_token(application: FastAPI, client: httpx.AsyncClient) -> None:
    codes = [
        (await client.get("/metrics", headers={"Authorization": given} if given else {})).json()["code"]
        for given in ("", "Bearer ", "Bearer metrics-toke", "Bearer metrics-tokens", f"Basic {TOKEN}")
    ]
    application.state.settings = application.state.settings.model_copy(update={"metrics_token": None})
    without_token = await client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})

    refused = "authentication_failed"
    assert codes == ["not_authenticated", refused, refused, refused, "not_authenticated"]
    assert (without_token.status_code, without_token.json()["detail"]) == (404, "Endpoint not found.")


async def test_requests_are_counted_by_the_template_of_their_route(service: Service) -> None:
    before = await scrape(service.client)
    for path in ("/experiments/41/", "/experiments/42", "/experiments/", "/nothing/"):
        await service.get(path)
    await service.client.request("BREW", "/coffee/")
    after = await scrape(service.client)

    def new(**labels: str) -> float:
        return after("abacus_http_requests_total", **labels) - before("abacus_http_requests_total", **labels)

    one = "/api/projects/{project_id}/experiments/{experiment_id}/"
    assert new(route=one, method="GET", status="404") == 2
    assert new(route="/api/projects/{project_id}/experiments/", status="200") == 1
    assert new(route="none", status="404") == 2
    assert new(method="OTHER") == 1
    assert new() == 5
    timed = "abacus_http_request_duration_seconds_count"
    assert after(timed, route=one) - before(timed, route=one) == 2


async def test_captured_events_are_counted_as_accepted_or_duplicate(service: Service) -> None:
    sent = [event("visit", "ann", uuid=f"0190d5a1-2b3c-7d4e-8f50-12345678900{number}") for number in range(5)]
    before = await scrape(service.client)
    await service.capture(*sent[:3])
    await service.capture(*sent, sent[4])
    await service.client.post("/batch/", json={"api_key": "phc_unknown", "batch": sent})
    after = await scrape(service.client)

    name = "abacus_capture_events_total"
    assert after(name, outcome="accepted") - before(name, outcome="accepted") == 5
    assert after(name, outcome="duplicate") - before(name, outcome="duplicate") == 4


async def test_results_are_timed_by_kind(service: Service) -> None:
    funnel = await service.create_experiment(secondary_metrics=[{"name": "Views", "filters": TREND}])
    trend = await service.create_experiment(feature_flag_key="other", filters=TREND)
    before = await scrape(service.client)
    await service.get(f"/experiments/{funnel['id']}/results/")
    await service.get(f"/experiments/{trend['id']}/results/")
    await service.get(f"/experiments/{trend['id']}/results/")
    await service.get(f"/experiments/{funnel['id']}/secondary_results/", id=0)
    after = await scrape(service.client)

    name = "abacus_results_duration_seconds_count"
    assert {kind: after(name, kind=kind) - before(name, kind=kind) for kind in ("funnel", "trend", "secondary")} == {
        "funnel": 1,
        "trend": 2,
        "secondary": 1,
    }


def fail(project: Project) -> NoReturn:
    raise ZeroDivisionError(project.id)


async def test_lag_of_the_background_refresh_does_not_shrink_while_it_fails(
    service: Service, database: Database
) -> None:
    await service.create_experiment(end_date=None)
    schedule = MaintenanceScheduler(
        database, lambda project: build_maintenance(database, Materializer(database), project), 10
    )
    broken = MaintenanceScheduler(database, fail, 10)
    started = time.time()
    await schedule.run_once()
    counted_until = (await scrape(service.client))("abacus_counted_until_timestamp_seconds")
    await broken.run_once()

    assert started <= counted_until <= time.time()
    assert (await scrape(service.client))("abacus_counted_until_timestamp_seconds") == counted_until


async def test_connections_in_use_are_reported(client: httpx.AsyncClient, database: Database) -> None:
    async with database.snapshot() as session:
        await session.connection()
        busy = await scrape(client)
    idle = await scrape(client)

    name = "abacus_database_connections_in_use"
    assert busy(name, pool="writing") - idle(name, pool="writing") == 1  # other databases of the process have their own
    assert idle("abacus_database_connections_limit", pool="writing") == 5
