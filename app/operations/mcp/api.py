"""Calls the REST API of a running service, and says in words what went wrong."""

from collections.abc import Mapping
from typing import Any, Final

import httpx
from mcp.server.mcpserver.exceptions import ToolError

Json = Any  # what an answer holds

_TIMEOUT_SECONDS: Final = 60.0  # counting may take that long
_SHOWN_CHARACTERS: Final = 300


class ExperimentApi:
    """The experiments of one project, as the holder of a key sees them."""

    def __init__(self, client: httpx.AsyncClient, project: str) -> None:
        self._client = client
        self._project = project

    @classmethod
    def at(cls, url: str, key: str, project: str) -> "ExperimentApi":
        """Return the API of the service at an address."""
        headers = {"Authorization": f"Bearer {key}"}
        return cls(httpx.AsyncClient(base_url=url, headers=headers, timeout=_TIMEOUT_SECONDS), project)

    async def get(self, path: str, **parameters: object) -> Json:
        sent = {name: str(value) for name, value in parameters.items() if value is not None}
        return await self._call("GET", path, params=sent)

    async def post(self, path: str, body: Mapping[str, object]) -> Json:
        return await self._call("POST", path, json={key: value for key, value in body.items() if value is not None})

    async def close(self) -> None:
        await self._client.aclose()

    async def _call(self, method: str, path: str, **options: Json) -> Json:
        try:
            response = await self._client.request(method, f"/api/projects/{self._project}{path}", **options)
        except httpx.TimeoutException as error:
            raise ToolError(f"{self._client.base_url} did not answer in time. Try again.") from error
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise ToolError(f"{self._client.base_url} cannot be reached: {reason}. Check ABACUS_URL.") from error
        if not response.is_success:
            raise ToolError(_explain(response))
        try:
            return response.json()
        except ValueError as error:
            raise ToolError(f"{self._client.base_url} does not answer as Abacus does. Check ABACUS_URL.") from error


def _explain(response: httpx.Response) -> str:
    """Return what the service says of a refusal, and what to do about it where that is known."""
    try:
        body = response.json()
        detail, attr = str(body["detail"]), body.get("attr")
    except (ValueError, KeyError, TypeError):
        return f"The service answered {response.status_code}: {response.text[:_SHOWN_CHARACTERS]}"
    place = f" (field `{attr}`)" if attr else ""
    advice = {
        401: " Check ABACUS_API_KEY: it holds a personal API key.",
        404: " Check the id, and ABACUS_PROJECT.",
    }
    return f"{detail}{place}{advice.get(response.status_code, '')}"
