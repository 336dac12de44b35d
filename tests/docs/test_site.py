"""The documentation as a site: links hold, nothing comes from another host, and the service serves it at /guide/."""

import contextlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from app.main import create_app
from app.settings import Settings
from tests.support.guide import build_guide
from tests.support.programs import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "connect-src": "'self'",
    "worker-src": "'self'",
    "frame-ancestors": "'none'",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guide")
    build_guide(folder)
    return folder


@contextlib.asynccontextmanager
async def service_with(guide: Path, folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    url = f"sqlite:///{folder / 'empty.db'}"
    settings = Settings(database_url=url, refresh_interval=0, guide_directory=guide, root_path="/tools")
    application = create_app(settings)
    async with application.router.lifespan_context(application):
        transport = httpx.ASGITransport(app=application)
        async with httpx.AsyncClient(transport=transport, base_url="http://abacus.test") as client:
            yield client


@pytest.fixture
async def reader(site: Path, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with service_with(site, tmp_path) as client:
        yield client


def test_every_page_of_the_documentation_is_in_the_site_and_its_search(site: Path) -> None:
    index = json.loads((site / "search/search_index.json").read_text())
    found = {entry["location"].partition("#")[0] for entry in index["docs"]}

    expected = {f"{page.relative_to(DOCS).with_suffix('')}/".removesuffix("README/") for page in PAGES}
    assert found == expected
    assert all((site / location / "index.html").is_file() for location in expected)


def test_pages_load_nothing_from_another_host_and_hold_no_inline_script(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text()
        loaded = re.findall(r'<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)="([^"]*)"', text)
        assert loaded
        assert [address for address in loaded if "//" in address] == [], page
        assert re.findall(r"<script(?![^>]*(?: src=| type=\"application/json\"))", text) == [], page
        assert re.findall(r"\bon\w+=\"", text) == [], page
    for style in site.rglob("*.css"):
        assert re.findall(r"url\([\"']?(?:https?:)?//", style.read_text()) == [], style


async def test_service_serves_the_site_with_its_policy(reader: httpx.AsyncClient) -> None:
    page = await reader.get("/guide/")
    policy = dict(part.split(" ", 1) for part in page.headers["Content-Security-Policy"].split("; "))
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert POLICY.items() <= policy.items()
    named = [name for name in re.findall(r'(?:src|href)="([^"#:]+)"', page.text) if name != "."]
    assert len(named) > len(PAGES)
    for name in named:
        answer = await reader.get(f"/guide/{name}")
        assert answer.status_code == 200, name

    again = await reader.get("/guide/", headers={"If-None-Match": page.headers["ETag"]})
    assert again.status_code == 304
    assert (await reader.head("/guide/")).content == b""


async def test_other_addresses_are_redirected_to_pages_or_not_found(reader: httpx.AsyncClient) -> None:
    for path in ("/guide", "/guide/tutorial/first-experiment"):
        redirect = await reader.get(path)
        assert (redirect.status_code, redirect.headers["Location"]) == (307, f"/tools{path}/")
    outside = ("..%2f..%2fetc%2fpasswd", "%2fetc%2fpasswd", "%2e%2e/hooks.py")
    for path in (*outside, "nothing/", "assets/", "%00", "%ED%A0%80", "a" * 300, "a" * 5000, "index.html/x"):
        answer = await reader.get(f"/guide/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path


async def test_service_without_the_site_says_how_to_build_it(tmp_path: Path) -> None:
    async with service_with(tmp_path / "nothing", tmp_path) as client:
        page = await client.get("/guide/")
        below = await client.get("/guide/tutorial/")

    assert (page.status_code, "make docs-site" in page.text) == (200, True)
    assert (below.status_code, below.json()["code"]) == (404, "not_found")
