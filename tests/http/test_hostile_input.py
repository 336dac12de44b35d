"""No input causes a server error: hostile values in every documented field, parameter and header."""

import copy
import json
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest

from app.main import create_app
from app.settings import Settings
from tests.accounts.projects.test_isolation_of_every_route import make_objects
from tests.support.service import Json, Service

DOCUMENT = create_app(Settings()).openapi()
JSON = "application/json"

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


def bodies() -> Iterator[tuple[str, str, Json]]:
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            media = operation.get("requestBody", {}).get("content", {}).get(JSON)
            if media is not None:
                example = media["example"] if "example" in media else next(iter(media["examples"].values()))["value"]
                yield method.upper(), path, example


def parameters() -> Iterator[tuple[str, str, Sequence[Json]]]:
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            if operation.get("parameters"):
                yield method.upper(), path, operation["parameters"]


async def ids_of(service: Service) -> dict[str, str]:
    ids = await make_objects(service, "victim")
    headers = {"Authorization": f"Bearer {service.key}"}
    key = await service.client.post("/api/personal_api_keys/", json={"label": "x"}, headers=headers)
    fixed = {"project_id": str(service.project_id), "organization_id": "@current", "token": service.token}
    return {**ids, **fixed, "key_id": key.json()["id"]}


def check(response: httpx.Response, asked: object) -> None:
    assert response.status_code < 500, (asked, response.text)
    if response.status_code >= 400:
        assert list(response.json()) == ["type", "code", "detail", "attr"], (asked, response.text)


@pytest.mark.parametrize(
    ("method", "path", "example"), list(bodies()), ids=lambda part: part if isinstance(part, str) else ""
)
async def test_any_body_is_accepted_or_refused(service: Service, method: str, path: str, example: Json) -> None:
    ids = await ids_of(service)
    headers = {"Authorization": f"Bearer {service.key}", "Content-Type": JSON}
    example = json.loads(json.dumps(example).replace("phc_3xAmPl3", service.token))

    for way in leaves(example):
        for value in HOSTILE_VALUES:
            body = json.dumps(replaced(example, way, value)).encode()
            response = await service.client.request(method, path.format_map(ids), content=body, headers=headers)
            check(response, (way, value))

    for listed in ("/experiments/", "/feature_flags/", "/actions/", "/cohorts/", "/events/", "/persons/", "/"):
        await service.read(listed)  # no stored value spoils what is read afterwards


@pytest.mark.parametrize(
    ("method", "path", "described"), list(parameters()), ids=lambda part: part if isinstance(part, str) else ""
)
async def test_any_parameter_is_accepted_or_refused(
    service: Service, method: str, path: str, described: Sequence[Json]
) -> None:
    ids = await ids_of(service)
    key = {"Authorization": f"Bearer {service.key}"}

    for parameter in described:
        name, place = parameter["name"], parameter["in"]
        for value in HOSTILE_TEXTS:
            raw = value.encode("utf-8", "surrogatepass")
            quoted = "".join(f"%{byte:02x}" for byte in raw[:4000])
            address, headers = path.format_map(ids), dict(key)
            if place == "path":
                address = path.format_map({**ids, name: quoted})
            elif place == "query":
                address = f"{address}?{name}={quoted}"
            else:
                headers[name] = raw[:4000].replace(b"\r\n", b"").replace(b"\0", b"").decode("latin-1")
            response = await service.client.request(
                method,
                httpx.URL(f"http://abacus.test{address}"),
                headers=[(title.encode(), text.encode("latin-1")) for title, text in headers.items()],
            )
            check(response, (name, value))
