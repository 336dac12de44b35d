"""Health, snapshots and pages derive everything from one count of an experiment."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import httpx
import pytest

from app.db.models import Experiment
from app.experiments.exposures.traffic_split import TrafficSplit, TrafficSplitQueries
from app.metrics.counting.fact_query import FactQuery
from app.metrics.counting.service import FactService
from app.metrics.facts.materializer import Materializer
from tests.support.service import FUNNEL, TREND, Json, Service, event, exposure, sign_in

pytestmark = pytest.mark.one_database

SECONDARY = {"filters": {"insight": "TRENDS", "events": [{"id": "purchase", "type": "events"}]}}


async def read_health(service: Service, path: str) -> httpx.Response:
    return await service.get(f"{path}health/")


async def take_snapshot(service: Service, path: str) -> httpx.Response:
    return await service.post(f"{path}snapshots/", {})


async def show_page(service: Service, path: str) -> httpx.Response:
    page = f"/experiments/{service.project_id}{path.removeprefix('/experiments')}"
    await sign_in(service.client, service.key, page)
    return await service.client.get(page)


@pytest.mark.parametrize("filters", [FUNNEL, TREND], ids=["funnel", "trend"])
@pytest.mark.parametrize("read", [read_health, take_snapshot, show_page])
async def test_request_counts_every_metric_once_and_as_of_one_moment(
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    read: Callable[[Service, str], Awaitable[httpx.Response]],
    filters: Json,
) -> None:
    experiment = await service.create_experiment(filters=filters, secondary_metrics=[SECONDARY])
    for variant in ("control", "test"):
        await service.capture(exposure("ann", variant), event("$pageview", "ann", variant=variant))
    calls: Counter[str] = Counter()
    count, catch_up, split = FactService.counts_or_refusals, Materializer.caught_up, TrafficSplitQueries.split

    async def note_count(self: FactService, metrics: Sequence[FactQuery[Any]], **options: Any) -> Any:
        calls.update(metric.digest for metric in metrics)
        return await count(self, metrics, **options)

    def note_catch_up(self: Materializer, *series: Any) -> Any:
        calls["moments"] += 1
        return catch_up(self, *series)

    async def note_split(self: TrafficSplitQueries, experiment: Experiment) -> TrafficSplit:
        calls["split"] += 1
        return await split(self, experiment)

    monkeypatch.setattr(FactService, "counts_or_refusals", note_count)
    monkeypatch.setattr(Materializer, "caught_up", note_catch_up)
    monkeypatch.setattr(TrafficSplitQueries, "split", note_split)
    response = await read(service, f"/experiments/{experiment['id']}/")

    assert response.is_success, response.text
    assert calls.pop("split") == 1
    # Whatever arrives meanwhile, the figures agree with each other, but for a snapshot's secondary results of 2022.
    assert calls.pop("moments") == (2 if read is take_snapshot else 1)
    assert len(calls) >= 3  # exposures, the verdict's counts and the counts by day
    assert set(calls.values()) == {1}
