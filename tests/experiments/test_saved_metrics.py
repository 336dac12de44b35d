"""Saved metrics, which several experiments count."""

from typing import Any

import pytest

from tests.support.service import Service, event, exposure

END = "2022-11-05T00:00:00Z"


def query(name: str) -> dict[str, Any]:
    return {"metric_type": "mean", "source": {"kind": "EventsNode", "event": name}}


async def save(service: Service, name: str = "purchase") -> Any:
    response = await service.post("/experiment_saved_metrics/", {"name": f"All {name}s", "query": query(name)})
    assert response.status_code == 201, response.text
    return response.json()


async def test_experiments_count_saved_metric_as_it_is_now(service: Service) -> None:
    saved = await save(service)
    experiment = await service.create_experiment(
        end_date=END, filters={}, saved_metrics_ids=[{"id": saved["id"], "metadata": {"type": "primary"}}]
    )
    await service.capture(
        exposure("ann", "test", "2022-11-01T09:00:00Z"),
        event("purchase", "ann", "2022-11-01T10:00:00Z"),
        *(event("visit", "ann", f"2022-11-01T1{hour}:00:00Z") for hour in range(3)),
    )
    path = f"/experiments/{experiment['id']}/analysis/"

    [purchases] = (await service.read(path))["metrics"]
    await service.patch(f"/experiment_saved_metrics/{saved['id']}/", {"query": query("visit"), "name": "Visits"})
    [visits] = (await service.read(path))["metrics"]

    assert experiment["saved_metrics_ids"] == [{"id": saved["id"], "metadata": {"type": "primary"}}]
    assert (purchases["name"], purchases["analysis"]["variants"][1]["sum"]) == ("All purchases", 1)
    assert (visits["name"], visits["analysis"]["variants"][1]["sum"]) == ("Visits", 3)
    assert visits["uuid"] == purchases["uuid"] == saved["query"]["uuid"]  # which circuit breakers name


async def test_saved_metric_in_use_is_not_deleted(service: Service) -> None:
    saved = await save(service)
    path = f"/experiment_saved_metrics/{saved['id']}/"
    experiment = await service.create_experiment(name="Button", saved_metrics_ids=[{"id": saved["id"]}])

    refused = await service.delete(path)
    await service.patch(f"/experiments/{experiment['id']}/", {"saved_metrics_ids": None})
    deleted = await service.delete(path)

    assert (refused.status_code, refused.json()["code"]) == (400, "in_use")
    assert "'Button'" in refused.json()["detail"]
    assert deleted.status_code == 204
    assert (await service.get(path)).status_code == 404


@pytest.mark.one_database
async def test_experiment_cannot_name_saved_metric_that_does_not_exist(service: Service) -> None:
    body = {"name": "x", "feature_flag_key": "x", "saved_metrics_ids": [{"id": 999_999}]}

    refused = await service.post("/experiments/", body)

    assert (refused.status_code, refused.json()["attr"]) == (400, "saved_metrics_ids")
