"""The page at ``/``, and what /docs remembers."""

import re

import httpx
import pytest

from app import VERSION
from tests.support.application import operations, private_routes

pytestmark = pytest.mark.one_database


async def test_front_page_leads_people_and_programs_on(client: httpx.AsyncClient) -> None:
    page = await client.get("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    answer = await client.get("/")

    links = answer.json()["links"]
    assert (answer.json()["name"], answer.json()["version"]) == ("Abacus", VERSION)
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert re.findall(r'href="([^"]*)"', page.text) == list(links.values())
    assert "<h1>Abacus</h1>" in page.text
    assert "://" not in page.text
    for path in links.values():
        reached = await client.get(path, headers={"Accept": "text/html"}, follow_redirects=True)
        assert reached.status_code == 200, path
    assert page.headers["Vary"] == answer.headers["Vary"] == "Accept"


async def test_documentation_keeps_the_key_and_begins_with_the_current_project(client: httpx.AsyncClient) -> None:
    assert "persistAuthorization: true" in (await client.get("/docs/start.js")).text
    projects = [
        parameter["schema"]["default"]
        for route in private_routes()
        for parameter in operations()[route].get("parameters", [])
        if parameter["name"] == "project_id"
    ]
    assert set(projects) == {"@current"}
