"""Requests for flags as SDKs send them."""

from typing import Any

from tests.support.service import Json, Service

COUNTRY = {"key": "country", "value": "NL", "operator": "exact", "type": "person"}
HALVES = {"variants": [{"key": "control", "rollout_percentage": 50}, {"key": "test", "rollout_percentage": 50}]}
EVERYBODY: dict[str, Any] = {"groups": [{"properties": [], "rollout_percentage": None}]}


async def create_flag(service: Service, key: str = "beta-feature", **fields: Any) -> Json:
    """Create a flag; without filters it is released to everyone."""
    response = await service.post("/feature_flags/", {"key": key, "filters": EVERYBODY, **fields})
    assert response.status_code == 201, response.text
    return response.json()


async def ask(service: Service, path: str = "/flags/?v=2", distinct_id: object = "example_id", **members: Any) -> Json:
    response = await service.client.post(path, json={"token": service.token, "distinct_id": distinct_id, **members})
    assert response.status_code == 200, response.text
    return response.json()


async def values(service: Service, distinct_id: object = "example_id", **members: Any) -> Json:
    """Return the values of all active flags."""
    return (await ask(service, "/flags/?v=1", distinct_id, **members))["featureFlags"]
