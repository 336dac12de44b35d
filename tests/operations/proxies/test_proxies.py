"""Abacus behind nginx, Caddy and HAProxy, run with the files that the guide shows."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.support.command_line import run_command
from tests.support.ports import free_port
from tests.support.programs import NO_AUTHORITIES, PATIENCE, ROOT, require, running, serving, wait_for

pytestmark = pytest.mark.system

GUIDE = ROOT / "docs/how-to/proxies"
CLIENT = "127.0.0.2"  # unlike the proxy's 127.0.0.1 it is no trusted one
SPOOFED = {
    "X-Forwarded-For": "6.6.6.6",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Prefix": "/evil",
    "Forwarded": "for=6.6.6.6;host=evil.example;proto=https",
}
NGINX_AROUND = """
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {file};
}}
"""


@dataclass(frozen=True)
class Abacus:
    port: int
    project_id: int
    key: str
    token: str


@pytest.fixture(scope="module")
def abacus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Abacus]:
    """The service as the guide has it started, with two experiments."""
    folder = tmp_path_factory.mktemp("abacus")
    environment = {"ABACUS_DATABASE_URL": f"sqlite:///{folder}/abacus.db", "ABACUS_ROOT_PATH": "/abacus"}
    create = ["project", "create", "--name", "Shop", "--email", "a@b.example", "--json"]
    made = json.loads(run_command(create, {**os.environ, **environment})[1])
    with serving(environment, folder, "tests.operations.proxies.echo:create") as port:
        found = Abacus(port, made["project_id"], made["personal_api_key"], made["project_token"])
        for name in ("first", "second"):
            body = {"name": name, "feature_flag_key": name, "filters": {"insight": "TRENDS"}}
            url = f"http://127.0.0.1:{port}/api/projects/{found.project_id}/experiments/"
            response = httpx.post(url, json=body, headers={"Authorization": f"Bearer {found.key}"})
            assert response.status_code == 201, response.text
        yield found


def of_guide(name: str, folder: Path, ports: dict[str, int]) -> Path:
    """Return a copy of the guide's file in which each port is another one, and nothing else is changed."""
    text = (GUIDE / name).read_text()
    for written, port in ports.items():
        text, count = re.subn(rf"127\.0\.0\.1:{written}\b", f"127.0.0.1:{port}", text)
        assert count == 1, f"{name} names port {written} {count} times"
    copy = folder / name
    copy.write_text(text)
    return copy


def command_of(proxy: str, file: Path, folder: Path) -> Sequence[str]:
    program = require(proxy)
    if proxy == "nginx":
        around = folder / "around.conf"
        user = "user root;" if os.geteuid() == 0 else ""  # others may not look into the folders of tests
        around.write_text(NGINX_AROUND.format(user=user, folder=folder, file=file))
        return [program, "-e", "stderr", "-p", str(folder), "-c", str(around), "-g", "daemon off;"]
    if proxy == "caddy":
        return [program, "run", "--config", str(file), "--adapter", "caddyfile"]
    return [program, "-db", "-f", str(file)]


FILES = {"nginx": "nginx.conf", "caddy": "Caddyfile", "haproxy": "haproxy.cfg"}


@contextmanager
def proxied(proxy: str, service_port: int, folder: Path) -> Iterator[dict[str, str]]:
    """Run a proxy; yield the addresses below which it has the service with the prefix stripped and kept."""
    ports = {"8000": service_port, "8080": free_port(), "8081": free_port()}
    file = of_guide(FILES[proxy], folder, ports)
    home = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    log = folder / "proxy.log"
    with running(command_of(proxy, file, folder), log, {**home, "CADDY_ADMIN": f"127.0.0.1:{free_port()}"}):
        fronts = {
            way: f"http://127.0.0.1:{ports[port]}/abacus" for way, port in (("stripped", "8080"), ("kept", "8081"))
        }
        for front in fronts.values():
            wait_for(f"{front}/_readyz", log)
        yield fronts


@pytest.fixture(scope="module", params=list(FILES))
def fronts(
    request: pytest.FixtureRequest, abacus: Abacus, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    with proxied(request.param, abacus.port, tmp_path_factory.mktemp(request.param)) as fronts:
        yield fronts


@pytest.fixture(params=["stripped", "kept"])
def front(request: pytest.FixtureRequest, fronts: dict[str, str]) -> str:
    return fronts[request.param]


@pytest.fixture(scope="module")
def client(abacus: Abacus) -> Iterator[httpx.Client]:
    with httpx.Client(
        transport=httpx.HTTPTransport(verify=NO_AUTHORITIES, local_address=CLIENT),
        headers={"Authorization": f"Bearer {abacus.key}"},
        timeout=PATIENCE,
    ) as client:
        yield client


@pytest.mark.parametrize("headers", [{}, SPOOFED], ids=["honest", "spoofed"])
def test_service_sees_the_real_client_address(front: str, client: httpx.Client, headers: dict[str, str]) -> None:
    seen = client.get(f"{front}/echo", headers=headers).json()

    host = front.removeprefix("http://").removesuffix("/abacus")
    assert seen == {"client": CLIENT, "scheme": "http", "host": host, "prefix": "/abacus", "forwarded": []}


@pytest.mark.parametrize("headers", [{}, SPOOFED], ids=["honest", "spoofed"])
def test_links_between_pages_lead_through_the_proxy(
    front: str, client: httpx.Client, abacus: Abacus, headers: dict[str, str]
) -> None:
    address = f"{front}/api/projects/{abacus.project_id}/experiments/"

    first = client.get(address, params={"limit": 1}, headers=headers).json()
    second = client.get(first["next"], headers=headers).json()

    assert first["next"] == f"{address}?limit=1&offset=1"
    assert second["previous"] == f"{address}?limit=1"
    assert [page["results"][0]["name"] for page in (first, second)] == ["second", "first"]


@pytest.mark.parametrize("path", ["docs", "docs/", "redoc"])
def test_documentation_works_behind_the_proxy(front: str, client: httpx.Client, path: str) -> None:
    page = client.get(f"{front}/{path}")
    origin = front.removesuffix("/abacus")
    named = re.findall(r'(?:src|href|data-document|spec-url)="([^"]+)"', page.text)

    answers = {name: client.get(f"{origin}{name}") for name in named}

    assert page.status_code == 200
    assert len(named) >= 3
    assert all(name.startswith("/abacus/") for name in named)
    assert {answer.status_code for answer in answers.values()} == {200}
    document = answers["/abacus/openapi.json"].json()
    assert document["servers"] == [{"url": "/abacus"}]
    experiments = f"{origin}{document['servers'][0]['url']}/api/projects/@current/experiments/"
    assert client.get(experiments).status_code == 200


def test_events_of_an_sdk_arrive_through_the_proxy(front: str, client: httpx.Client, abacus: Abacus) -> None:
    event = {"api_key": abacus.token, "event": "visit", "distinct_id": "ann"}

    answer = client.post(f"{front}/e/", json=event, headers={"Origin": "https://shop.example"})

    assert (answer.status_code, answer.json()) == (200, {"status": 1})
    assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"


def test_body_that_is_too_large_is_refused_by_the_service_in_json(front: str, client: httpx.Client) -> None:
    answer = client.post(f"{front}/batch/", content=b" " * (20 * 1024 * 1024 + 1))

    assert (answer.status_code, answer.json()["code"]) == (413, "request_too_large")
