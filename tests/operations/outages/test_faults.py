"""For every operation of the OpenAPI document, and for every statement that it makes: the statement fails.

The client hears when to come again, nothing is half written, and the next attempt succeeds.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import asyncpg
import httpx
import pytest

from tests.operations.outages.applications import AWAY, NOT_STORED, serving
from tests.operations.outages.postgresql_proxy import Fault, PostgresProxy
from tests.support.application import operations
from tests.support.postgresql import PostgresServer
from tests.support.service import FUNNEL, TREND, Service, event

TOKEN = "phc_3xAmPl3"  # noqa: S105  # of the document's examples
JSON = "application/json"
# In this order what an operation needs is there: first all is made, and at last all is deleted.
ORDER = {method: place for place, method in enumerate(("post", "get", "put", "patch", "delete"))}
LIFE = ("launch", "pause", "resume", "end", "archive", "unarchive", "ship_variant", "reset")


def _place(operation: tuple[str, str]) -> tuple[object, ...]:
    path, method = operation
    step = path.split("/")[-2]
    return ORDER[method], path == "/api/projects/", LIFE.index(step) if step in LIFE else -1, path


OPERATIONS = sorted(((path, method.lower()) for method, path in operations()), key=_place)
# Kept to answer faster; each of their transactions is complete in itself, and what they say follows from the rest.
PHASES = [[one for one in OPERATIONS if (one[1] == "delete") is is_last] for is_last in (False, True)]
# Flags are remembered for a second, and /decide has just asked for them.
WITHOUT_DATABASE = {"get /array/{token}/config/", "post /flags/"}
# With the examples of the document they are refused: they need exposed persons, two distinct ids, a metric, events, a
# file, or the token in a header.
PROJECT = "/api/projects/{project_id}/"
EXPERIMENT = f"{PROJECT}experiments/{{experiment_id}}/"
REFUSED = {
    f"post {EXPERIMENT}freeze_exposure/",
    f"post {EXPERIMENT}unfreeze_exposure/",
    f"post {PROJECT}persons/{{person_id}}/split/",
    f"get {PROJECT}experiment_holdouts/{{holdout_id}}/analysis/",
    f"get {PROJECT}event_definitions/{{event_definition_id}}/",
    f"get {PROJECT}property_definitions/",
    f"get {PROJECT}property_definitions/{{property_definition_id}}/",
    f"get {PROJECT}insights/funnel/",
    f"post {PROJECT}imports/",
    f"get {PROJECT}imports/{{import_id}}/",
    f"get {PROJECT}imports/{{import_id}}/refused/",
    f"delete {PROJECT}imports/{{import_id}}/",
    "post /ofrep/v1/evaluate/flags/",
    "post /ofrep/v1/evaluate/flags/{key}/",
}
DERIVED = {"series", "series_variant", "series_fact", "count"}
DERIVED |= {"definition_progress", "event_definition", "event_volume", "event_property", "property_definition"}
DERIVED |= {"webhook_delivery"}  # one for a test is written, then sent, and then what became of it is noted
MOST_STATEMENTS = 100

Send = Callable[[], Awaitable[httpx.Response]]


class Caller:
    """Calls every operation with what the document gives as its example."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._ids = {"project_id": str(service.project_id), "token": TOKEN}

    def request(self, path: str, method: str) -> Send:
        operation: dict[str, Any] = operations()[method.upper(), path]
        body = operation.get("requestBody", {}).get("content", {}).get(JSON, {})
        example = body.get("example") or next((one["value"] for one in body.get("examples", {}).values()), None)
        queries = {
            one["name"]: one["schema"].get("examples", one.get("examples", ["0"]))[0]
            for one in operation.get("parameters", [])
            if one["in"] == "query" and one["name"] in {"id", "token", "group_type_index"}
        }
        ids = {
            one["name"]: str(one["schema"].get("examples", one.get("examples", ["1"]))[0])
            for one in operation.get("parameters", [])
            if one["in"] == "path"
        }
        with_results = {"experiment_id": "1"} if "results" in path else {}
        address = path.format(**{**ids, **self._ids, **with_results})
        headers = {"Authorization": f"Bearer {self._service.key}"}

        async def send() -> httpx.Response:
            return await self._service.client.request(
                method, f"{address}?{urlencode(queries)}", json=example, headers=headers
            )

        return send

    def note(self, path: str, method: str, response: httpx.Response) -> None:
        """Remember the id of what was made."""
        if method == "post" and response.status_code == 201 and path != "/api/projects/" and "id" in response.json():
            kind = path.split("/")[-2].removeprefix("personal_api_").removeprefix("experiment_").removesuffix("s")
            self._ids.setdefault(f"{kind}_id", str(response.json()["id"]))


@pytest.fixture
async def database_name(postgresql: PostgresServer, postgresql_template: str) -> AsyncIterator[str]:
    name = f"test_{uuid4().hex}"
    await postgresql.create_database(name, template=postgresql_template)
    yield name
    await postgresql.drop_database(name)


async def contents(connection: asyncpg.Connection) -> dict[str, str]:
    """Return a digest of what each table holds."""
    tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    names = [row["tablename"] for row in tables if row["tablename"] not in DERIVED]
    each = " UNION ALL ".join(
        f"SELECT '{name}', md5(coalesce(string_agg(kept::text, ';' ORDER BY kept::text), ''))"
        f" FROM (SELECT to_jsonb(t) - 'last_used_at' AS kept FROM \"{name}\" t) AS {name}_kept"
        for name in names
    )
    return {name: digest for name, digest in await connection.fetch(each)}  # noqa: C416  # records are no pairs to mypy


async def set_the_scene(service: Service, connection: asyncpg.Connection) -> Service:
    """Give the project the token of the examples, and an experiment that has results."""
    await connection.execute("UPDATE project SET api_token = $1 WHERE id = $2", TOKEN, service.project_id)
    service = Service(service.client, service.project_id, TOKEN, service.key)
    metrics = [{"name": "Visits", "filters": TREND}]
    await service.create_experiment(filters=FUNNEL, secondary_metrics=metrics, feature_flag_key="scene")
    await service.capture(
        *(event("$pageview", f"p{n}", variant=["control", "test"][n % 2], flag="scene") for n in range(4))
    )
    return service


def is_told_to_come_again(response: httpx.Response) -> bool:
    return (
        response.status_code == 503 and response.headers["Retry-After"] == "1" and response.json() in (AWAY, NOT_STORED)
    )


@pytest.mark.exhaustive
@pytest.mark.parametrize("fault", ["refuse", "die"])
async def test_failing_statement_leaves_no_partial_write(
    postgresql: PostgresServer, database_name: str, fault: Fault
) -> None:
    struck: set[str] = set()
    async with PostgresProxy.before(postgresql.port) as proxy:
        url = f"postgresql://postgres@127.0.0.1:{proxy.port}/{database_name}?ssl=disable"
        connection = await asyncpg.connect(postgresql.url(database_name))
        async with serving(url, database_pool_timeout=30) as new:
            caller = Caller(await set_the_scene(new, connection))
            for phase in PHASES:
                waiting = phase
                while waiting:  # some are only possible when others have been done: an end comes after a launch
                    done = []
                    for path, method in waiting:
                        name = f"{method} {path}"
                        send = caller.request(path, method)
                        before = await contents(connection)
                        for number in range(1, MOST_STATEMENTS):
                            proxy.fail(number, fault)
                            response = await send()
                            proxy.heal()
                            if not proxy.has_struck:
                                break
                            struck.add(name)
                            assert is_told_to_come_again(response), (name, number, response.status_code, response.text)
                            assert await contents(connection) == before, (name, number)
                        assert response.status_code < 500, (name, response.text)
                        caller.note(path, method, response)
                        if response.is_success:
                            done.append((path, method))
                    waiting = [one for one in waiting if one not in done]
                    if not done:
                        assert {f"{method} {path}" for path, method in waiting} <= REFUSED
                        break
        await connection.close()

    assert {f"{method} {path}" for path, method in OPERATIONS} - struck <= WITHOUT_DATABASE
