"""The API as its user calls it, with the key sent and the project's address filled in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

Json = Any  # what an answer holds

FUNNEL = {
    "insight": "FUNNELS",
    "events": [
        {"id": "$pageview", "order": 0, "type": "events"},
        {"id": "purchase", "order": 1, "type": "events"},
    ],
}
TREND = {"insight": "TRENDS", "events": [{"id": "$pageview", "order": 0, "type": "events"}]}


@dataclass(frozen=True)
class Service:
    client: httpx.AsyncClient
    project_id: int
    token: str
    key: str
    email: str = ""
    organization: str = ""

    @property
    def project(self) -> str:
        return f"/api/projects/{self.project_id}"

    async def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Call an address below the project's."""
        headers = {"Authorization": f"Bearer {self.key}", **options.pop("headers", {})}
        return await self.client.request(method, f"{self.project}{path}", headers=headers, **options)

    async def get(self, path: str, **parameters: Any) -> httpx.Response:
        return await self.request("GET", path, params=parameters or None)

    async def read(self, path: str, **parameters: Any) -> Json:
        response = await self.get(path, **parameters)
        assert response.status_code == 200, response.text
        return response.json()

    async def post(self, path: str, body: object) -> httpx.Response:
        return await self.request("POST", path, json=body)

    async def patch(self, path: str, body: object) -> httpx.Response:
        return await self.request("PATCH", path, json=body)

    async def delete(self, path: str) -> httpx.Response:
        return await self.request("DELETE", path)

    async def create_experiment(self, **fields: Any) -> Json:
        """Create an experiment that started on 2022-11-01 and ended on 2022-11-15, unless said otherwise."""
        body = {
            "name": "Checkout button",
            "feature_flag_key": "checkout",
            "start_date": "2022-11-01T00:00:00Z",
            "end_date": "2022-11-15T00:00:00Z",
            "filters": FUNNEL,
            **fields,
        }
        response = await self.post("/experiments/", body)
        assert response.status_code == 201, response.text
        return response.json()

    async def capture(self, *events: Mapping[str, object]) -> None:
        """Send events and see them acknowledged."""
        response = await self.send(events)
        assert (response.status_code, response.json()) == (200, {"status": 1}), response.text

    async def send(self, events: Sequence[Mapping[str, object]]) -> httpx.Response:
        return await self.client.post("/batch/", json={"api_key": self.token, "batch": list(events)})


async def sign_in(client: httpx.AsyncClient, key: str, path: str = "/experiments/", **headers: str) -> httpx.Response:
    """Send the form that signs in on the pages."""
    return await client.post("/experiments/sign-in/", data={"key": key, "next": path}, headers=headers)


async def session_of(client: httpx.AsyncClient, key: str) -> dict[str, str]:
    """Return the header that shows a new session of a key, and leave the client signed out."""
    token = (await sign_in(client, key)).cookies["abacus_session"]
    client.cookies.clear()
    return {"Cookie": f"abacus_session={token}"}


def event(
    name: str,
    distinct_id: str,
    time: str = "2022-11-02T10:00:00Z",
    *,
    variant: str | None = None,
    flag: str = "checkout",
    **members: object,
) -> dict[str, object]:
    """Return an event; with ``variant`` it carries ``$feature/<flag>``. ``properties`` are added to."""
    properties = members.pop("properties", {})
    assert isinstance(properties, dict)
    if variant is not None:
        properties = {f"$feature/{flag}": variant, **properties}
    return {"event": name, "distinct_id": distinct_id, "timestamp": time, "properties": properties, **members}


def exposure(
    distinct_id: str, variant: str, time: str = "2022-11-02T09:00:00Z", flag: str = "checkout"
) -> dict[str, object]:
    """Return the event by which an SDK reports that it evaluated a flag."""
    properties = {"$feature_flag": flag, "$feature_flag_response": variant}
    return event("$feature_flag_called", distinct_id, time, properties=properties)


def without_warnings(response: httpx.Response) -> Json:
    """Return the object that a change was answered with, as it is read later: without what was ignored."""
    return {key: value for key, value in response.json().items() if key != "warnings"}
