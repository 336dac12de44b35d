"""No input causes a server error: hostile values in every documented field, parameter and header."""

import copy
import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import httpx
import pytest

from app.db.database import Database
from tests.conftest import new_service
from tests.support.application import Route, operations
from tests.support.one_of_everything import make_objects
from tests.support.programs import EVERYTHING
from tests.support.service import Json, Service

# PostgreSQL refuses more: null characters, large numbers, half characters.
pytestmark = [pytest.mark.one_database("postgresql"), pytest.mark.timeout(1200)]

JSON = "application/json"
STEP = 1 if os.environ.get(EVERYTHING) else 32

HOSTILE_TEXTS = [
    "",
    " ",
    "\0",
    "a\0b",
    "\ud800",
    "\u202egnp.exe",
    "\ufeff",
    "👩‍👩‍👧‍👦" * 100,
    "x" * 10_000,
    "' OR 1=1 --",
    '"; DROP TABLE experiment; --',
    "\\",
    "%",
    "_",
    "%s %(x)s {x:String} ${x} $1 :k ?",
    "__proto__",
    "constructor",
    "a.b[0]",
    "$set",
    "^(a+)+$",
    "(?=a)(",
    "../../etc/passwd",
    "<script>alert(1)</script>",
    "\r\nSet-Cookie: a=b",
    "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00+14:00",
    "2022-13-45T00:00:00Z",
    "-99999d",
    "NaN",
    "9" * 400,
    "1e999",
    "@current",
]
HOSTILE_VALUES: list[Any] = [
    *HOSTILE_TEXTS,
    None,
    True,
    0,
    -1,
    2**31,
    2**63,
    2**64,
    10**400,
    1.5,
    float("nan"),
    float("inf"),
    -1e308,
    [],
    {},
    [[]],
    [None],
    ["\0", {"\0": "\ud800"}],
    {"": {"": {"": []}}},
    json.loads("[" * 200 + "]" * 200),
    {"a": json.loads('{"b":' * 100 + "1" + "}" * 100)},
]

Path = tuple[str | int, ...]
Value = TypeVar("Value")


def leaves(document: Json, path: Path = ()) -> Iterator[Path]:
    """Yield the way to every value inside a body, containers too; of a list to the first item: the others are alike."""
    if path:
        yield path
    if isinstance(document, dict):
        for name, value in document.items():
            yield from leaves(value, (*path, name))
    if isinstance(document, list) and document:
        yield from leaves(document[0], (*path, 0))


def replaced(document: Json, path: Path, value: object) -> Json:
    """Return a copy with another value at the end of the way."""
    changed = copy.deepcopy(document)
    within = changed
    for name in path[:-1]:
        within = within[name]
    within[path[-1]] = value
    return changed


def choices(values: Sequence[Value]) -> Iterator[Sequence[Value]]:
    """Yield what to try in one place after the other: all, or every thirty-second value, others in each place."""
    return (values[number % STEP :: STEP] for number in itertools.count())


def operations_with(part: str) -> dict[str, list[Route]]:
    """Return by its tag each operation that takes a body, or parameters."""
    found: dict[str, list[Route]] = {}
    for route, operation in operations().items():
        if operation.get(part):
            found.setdefault(operation["tags"][0], []).append(route)
    return found


def example_of(route: Route) -> Json:
    media = operations()[route]["requestBody"]["content"].get(JSON)
    return media and (media["example"] if "example" in media else next(iter(media["examples"].values()))["value"])


async def ids_of(service: Service, *routes: Route) -> dict[str, str]:
    """Return the ids of what the paths of operations name."""
    ids = await make_objects(service, "victim", {name for _, path in routes for name in re.findall(r"{(\w+)}", path)})
    headers = {"Authorization": f"Bearer {service.key}"}
    key = await service.client.post("/api/personal_api_keys/", json={"label": "x"}, headers=headers)
    return {**ids, "organization_id": "@current", "token": service.token, "key_id": key.json()["id"]}


def is_answered_well(response: httpx.Response) -> bool:
    """Tell whether a request was taken, or refused with the body that all refusals have."""
    if response.status_code < 400:
        return True
    return response.status_code < 500 and list(response.json()) == ["type", "code", "detail", "attr"]


@pytest.mark.parametrize("tag", operations_with("requestBody"))
async def test_hostile_body_is_accepted_or_refused(client: httpx.AsyncClient, database: Database, tag: str) -> None:
    offenders: list[object] = []
    for route in operations_with("requestBody")[tag]:
        service = await new_service(client, database)  # the last operation may have deleted what this one needs
        offenders += await send_hostile_bodies(service, route)
        for listed in ("/experiments/", "/feature_flags/", "/actions/", "/cohorts/", "/events/", "/persons/", "/"):
            afterwards = await service.get(listed)  # no stored value spoils what is read afterwards
            if afterwards.status_code != 200:
                offenders.append((*route, "then", listed, afterwards.text))

    assert offenders == []


async def send_hostile_bodies(service: Service, route: Route) -> Iterable[object]:
    (method, path), ids = route, await ids_of(service, route)
    headers = {"Authorization": f"Bearer {service.key}", "Content-Type": JSON}
    example = json.loads(json.dumps(example_of(route)).replace("phc_3xAmPl3", service.token))
    offenders = []
    for way, values in zip(leaves(example), choices(HOSTILE_VALUES), strict=False):
        for value in values:
            body = json.dumps(replaced(example, way, value)).encode()
            response = await service.client.request(method, path.format_map(ids), content=body, headers=headers)
            if not is_answered_well(response):
                offenders.append((*route, way, value, response.text))
    return offenders


@pytest.mark.parametrize("tag", operations_with("parameters"))
async def test_hostile_parameter_is_accepted_or_refused(
    client: httpx.AsyncClient, database: Database, tag: str
) -> None:
    offenders: list[object] = []
    routes = operations_with("parameters")[tag]
    shared = await new_service(client, database)
    shared_ids = await ids_of(shared, *routes)
    for route in routes:
        service, ids = shared, shared_ids
        if changes(route):  # it may delete what another operation needs
            service = await new_service(client, database)
            ids = await ids_of(service, route)
        sent = await send_hostile_parameters(service, route, ids)
        offenders += [(*told, response.text) for *told, response in sent if not is_answered_well(response)]

    assert offenders == []


def changes(route: Route) -> bool:
    return route[0] != "GET"


async def send_hostile_parameters(
    service: Service, route: Route, ids: dict[str, str]
) -> Sequence[tuple[str, str, str, str, httpx.Response]]:
    sent = []
    for parameter, values in zip(operations()[route]["parameters"], choices(HOSTILE_TEXTS), strict=False):
        for value in values:
            response = await send_parameter(service, route, ids, parameter, value)
            sent.append((*route, parameter["name"], value, response))
    return sent


async def send_parameter(
    service: Service, route: Route, ids: dict[str, str], parameter: Json, value: str
) -> httpx.Response:
    (method, path), name = route, parameter["name"]
    raw = value.encode("utf-8", "surrogatepass")[:4000]
    quoted = "".join(f"%{byte:02x}" for byte in raw)
    address, headers = path.format_map(ids), {"Authorization": f"Bearer {service.key}"}
    if parameter["in"] == "path":
        address = path.format_map({**ids, name: quoted})
    elif parameter["in"] == "query":
        address = f"{address}?{name}={quoted}"
    else:
        headers[name] = raw.replace(b"\r\n", b"").replace(b"\0", b"").decode("latin-1")
    return await service.client.request(
        method,
        httpx.URL(f"http://abacus.test{address}"),
        headers=[(title.encode(), text.encode("latin-1")) for title, text in headers.items()],
    )
