"""The configuration and the scripts of the browser SDK."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from app.flags.remote_config.documents import config_script
from app.flags.remote_config.scripts import ScriptDirectory
from app.http.unserved_addresses import EMPTY_SCRIPT
from app.main import create_app
from app.settings import Settings
from tests.flags.evaluation.asking import create_flag
from tests.flags.evaluation.test_responses import REMOTE_CONFIG
from tests.support.service import Service

pytestmark = pytest.mark.one_database


@pytest.mark.parametrize("slash", ["", "/"])
async def test_configuration_is_json_and_a_script_that_sets_it(service: Service, slash: str) -> None:
    document = {"token": service.token, **REMOTE_CONFIG}

    without_flags = await service.client.get(f"/array/{service.token}/config{slash}")
    await create_flag(service)
    with_flags = await service.client.get(f"/array/{service.token}/config{slash}")
    script = await service.client.get(f"/array/{service.token}/config.js{slash}")

    assert without_flags.json() == {**document, "hasFeatureFlags": False}
    assert with_flags.json() == document
    assert script.headers["content-type"].startswith("application/javascript")
    prefix = f"window._POSTHOG_REMOTE_CONFIG[{json.dumps(service.token)}] = "
    assert json.loads(script.text.partition(prefix)[2].partition(";\n")[0]) == {"config": document, "siteApps": []}


@pytest.mark.parametrize("token", ["phc_unknown", "%00", "%ED%A0%80", "..%2f..", "'\"</script>"])
@pytest.mark.parametrize("name", ["config", "config.js", "array.js"])
async def test_unknown_token_has_no_configuration(client: httpx.AsyncClient, token: str, name: str) -> None:
    response = await client.get(f"/array/{token}/{name}")

    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_token_cannot_end_its_script() -> None:
    assert "</script>" not in config_script("</script>", has_flags=True)


async def test_unsupported_features_are_answered_as_off(client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/surveys/?token=phc_1")).json() == {"surveys": []}
    assert (await client.get("/api/web_experiments/?token=phc_1")).json() == {"experiments": []}
    assert (await client.get("/api/early_access_features/?token=phc_1")).json() == {"earlyAccessFeatures": []}
    for path in ("/static/1.449.2/surveys.js", "/static/surveys.js?v=1.449.2", "/static/toolbar.js"):
        response = await client.get(path)
        assert (response.status_code, response.text) == (200, EMPTY_SCRIPT)
    for path in ("/static/array.js", "/static/1.449.2/array.full.js", "/static/array.js.map", "/static/"):
        assert (await client.get(path)).status_code == 404


PAGE = {"Origin": "https://shop.example"}
UNSERVED = [
    ("GET", "/api/product_tours/?token=phc_1"),
    ("POST", "/i/v1/logs?token=phc_1"),
    ("POST", "/i/v1/metrics?token=phc_1"),
    ("GET", "/api/conversations/v1/widget/tickets?limit=5"),
    ("POST", "/api/conversations/v1/widget/message"),
    ("POST", "/report/?token=phc_1"),
    ("GET", "/array/phc_1/of_next_year"),
]


@pytest.mark.parametrize(("method", "path"), UNSERVED)
async def test_feature_that_is_not_known_yet_is_answered_without_content(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": "content-type,x-new"}

    response = await client.request(method, path, headers=PAGE)
    preflight = await client.options(path, headers={**PAGE, **asked})

    assert (response.status_code, response.json()) == (200, {})
    for answer in (response, preflight):
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == PAGE["Origin"]
        assert answer.headers["access-control-allow-credentials"] == "true"
    assert preflight.headers["access-control-allow-headers"] == "content-type,x-new"


async def test_part_of_the_sdk_that_is_not_known_yet_is_an_empty_script(client: httpx.AsyncClient) -> None:
    response = await client.get("/array/phc_1/tours.js", headers=PAGE)

    assert (response.status_code, response.text) == (200, EMPTY_SCRIPT)
    assert response.headers["content-type"].startswith("application/javascript")
    assert (await client.get("/array/phc_1/array.full.js", headers=PAGE)).status_code == 404


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/api/product_tours/", {}),
        ("/api/product_tours/?token=phc_1", {"Authorization": "Bearer phx_1"}),
        ("/api/projects/1/insights/?token=phc_1", PAGE),
        ("/api/nothing/", {**PAGE, "Authorization": "Bearer phx_1"}),
        ("/nothing", {}),
    ],
)
async def test_wrong_path_of_the_api_is_an_error(client: httpx.AsyncClient, path: str, headers: dict[str, str]) -> None:
    response = await client.get(path, headers=headers)

    assert (response.status_code, response.json()["detail"]) == (404, "Endpoint not found.")


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with scripts, beside files that must not be served."""
    around = tmp_path_factory.mktemp("static")
    directory = around / "dist"
    (directory / "1.0.0").mkdir(parents=True)
    (directory / "array.js").write_text("/* the SDK */")
    (directory / "surveys.js").write_text("/* surveys */")
    (directory / "1.0.0" / "surveys.js").write_text("/* old surveys */")
    (directory / "array.js.map").write_text("{}")
    (directory / "notes.txt").write_text("notes")
    (directory / "folder.js").mkdir()
    (directory / ".hidden.js").write_text("hidden")
    (around / "secret.js").write_text("secret")
    (directory / "link.js").symlink_to(around / "secret.js")
    return directory


@pytest.fixture(scope="module")
async def served(dist: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A service with an operator's scripts; they are served without asking its database."""
    url = f"sqlite:///{dist.parent / 'empty.db'}"
    application = create_app(Settings(database_url=url, refresh_interval=0, static_directory=dist))
    async with application.router.lifespan_context(application):
        transport = httpx.ASGITransport(app=application)
        async with httpx.AsyncClient(transport=transport, base_url="http://abacus.test") as client:
            yield client


@pytest.mark.parametrize(
    ("path", "text", "media_type"),
    [
        ("/static/array.js", "/* the SDK */", "application/javascript"),
        ("/static/array.js.map", "{}", "application/json"),
        ("/static/1.449.2/surveys.js", "/* surveys */", "application/javascript"),
        ("/static/surveys.js?v=1.449.2", "/* surveys */", "application/javascript"),
        ("/static/1.0.0/surveys.js", "/* old surveys */", "application/javascript"),
    ],
)
async def test_operators_scripts_are_served(served: httpx.AsyncClient, path: str, text: str, media_type: str) -> None:
    response = await served.get(path)

    assert (response.status_code, response.text) == (200, text)
    assert response.headers["content-type"].startswith(media_type)


async def test_operators_sdk_comes_with_the_configuration_before_it(
    service: Service, application: FastAPI, dist: Path
) -> None:
    application.state.scripts = ScriptDirectory(dist)

    response = await service.client.get(f"/array/{service.token}/array.js")

    assert response.text == config_script(service.token, has_flags=False) + "/* the SDK */"


OUTSIDE = [
    "../secret.js", "%2e%2e/secret.js", "..%2fsecret.js", "1.0.0/../../secret.js", "/secret.js", "//secret.js",
    "link.js", "1.0.0/link.js", ".hidden.js", "notes.txt", "folder.js", "a/b/array.js", "array.js%00", "..\\secret.js",
    "", ".", "..", "array", "a" * 5_000 + ".js",
]  # fmt: skip


@pytest.mark.parametrize("path", [path for path in OUTSIDE if path != ".."])  # the client resolves it: the front page
async def test_nothing_else_is_served(served: httpx.AsyncClient, path: str) -> None:
    response = await served.get(f"/static/{path}")

    assert response.status_code == 404 or response.text == EMPTY_SCRIPT


@pytest.mark.parametrize("path", OUTSIDE)
def test_nothing_else_is_found(dist: Path, path: str) -> None:
    assert ScriptDirectory(dist).find(path.replace("%2e", ".").replace("%2f", "/").replace("%00", "\0")) is None
