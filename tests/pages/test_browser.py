"""Pages in a browser: charts are drawn, keyboard and phone work, browser and axe report no errors."""

import asyncio
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.pages.conftest import clear_win, send, shown
from tests.support.service import TREND, Service, event
from tests.test_cli import abacus, served

pytestmark = pytest.mark.browser

HERE = Path(__file__).parent
MODULES = HERE.parent.parent / ".clients" / "pages"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
UNAUTHORIZED = "Failed to load resource: the server responded with a status of 401 (Unauthorized)"


async def make_experiments(service: Service) -> dict[str, Any]:
    """Create one experiment of every kind."""
    funnel = await clear_win(service, secondary_metrics=[{"name": "Views", "filters": TREND}])
    trend = await service.create_experiment(name="More views", feature_flag_key="views", filters=TREND)
    await send(service, [*shown(150, "control", "views"), *shown(150, "test", "views")])
    for variant, count in (("control", 60), ("test", 75)):
        await send(service, [event("$pageview", f"{variant}-{n}", variant=variant, flag="views") for n in range(count)])
    unhealthy = await service.create_experiment(name="Blue button", feature_flag_key="blue")
    await send(service, [*shown(300, "control", "blue"), *shown(150, "test", "blue")])
    entered = {"control": 300, "test": 150}
    for variant, count in entered.items():
        await send(service, [event("$pageview", f"{variant}-{n}", variant=variant, flag="blue") for n in range(count)])
    return {
        "funnel": funnel,
        "trend": trend,
        "unhealthy": unhealthy,
        "empty": await service.create_experiment(name="Nothing yet", feature_flag_key="empty"),
        "draft": await service.create_experiment(
            name="Planned", feature_flag_key="draft", start_date=None, end_date=None
        ),
    }


@pytest.fixture(scope="module")
async def seen(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("pages")
    environment = {**os.environ, "ABACUS_DATABASE_URL": f"sqlite:///{folder / 'abacus.db'}"}
    made = json.loads(
        abacus(environment, "project", "create", "--name", "Shop", "--email", "ann@example.com", "--json")
    )
    project, key = made["project_id"], made["personal_api_key"]
    with served(environment) as address:
        async with httpx.AsyncClient(base_url=address, timeout=60) as client:
            experiments = await make_experiments(Service(client, project, made["project_token"], key))
        report = folder / "report.html"
        abacus(
            environment, "report", str(experiments["funnel"]["id"]), "--project", str(project), "--output", str(report)
        )
        task = {
            "address": address,
            "key": key,
            "list": f"/experiments/{project}",
            "experiments": {name: f"/experiments/{project}/{one['id']}" for name, one in experiments.items()},
            "report": report.as_uri(),
            "modules": str(MODULES),
            "chromium": CHROMIUM,
        }
        return await asyncio.to_thread(run_script, "visit.mjs", task)


def run_script(name: str, task: Mapping[str, Any]) -> Any:
    """Return what a script saw in a browser."""
    done = subprocess.run(
        ["node", str(HERE / name)],  # noqa: S607  # wherever it is installed
        input=json.dumps(task),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def kinds(page: Any) -> list[str]:
    return [chart["kind"] for chart in page["charts"]]


async def test_sign_in_works_by_keyboard_alone(seen: Any) -> None:
    assert seen["pages"]["sign-in"]["heading"] == "Sign in"
    assert seen["alert"].startswith("Invalid API key")
    assert seen["pages"]["funnel"]["heading"] == "Checkout button"
    assert seen["first"] == "Skip to the content"
    assert "test\t30.1%" in seen["table"]
    assert seen["after"] == "Sign in"
    assert seen["readable"] == ""


async def test_every_experiment_is_listed_and_leads_to_its_verdict(seen: Any) -> None:
    pages = seen["pages"]

    assert seen["listed"] == ["Planned", "Nothing yet", "Blue button", "More views", "Checkout button"]
    assert pages["funnel"]["verdict"] == "Ship it: test"
    assert pages["unhealthy"]["verdict"] == "No decision"
    assert pages["draft"]["verdict"] == "Not launched yet"
    assert kinds(pages["funnel"]) == ["densities", "differences", "days", "exposures", "funnel"]
    assert kinds(pages["trend"]) == ["densities", "differences", "days", "exposures"]
    assert kinds(pages["empty"]) == kinds(pages["draft"]) == []


async def test_every_chart_is_drawn_and_has_a_name(seen: Any) -> None:
    charts = [chart for page in seen["pages"].values() for chart in page["charts"]]

    assert len(charts) > 20
    for chart in charts:
        assert chart["wide"], chart
        assert chart["name"], chart
        assert chart["marks"] >= 4, chart


async def test_values_of_charts_are_told_by_keyboard_and_under_the_pointer(seen: Any) -> None:
    assert seen["told"].startswith("test · Mean of the curve 30.1% · 95% credible interval 25.7% to 34.")
    assert seen["pointed"] == "1. $pageview · control · Persons 400 · Share of all who entered 100%"


async def test_pages_follow_the_color_scheme_and_the_width_of_the_screen(seen: Any) -> None:
    for name, page in seen["pages"].items():
        dark = page["background"] == "rgb(17, 22, 29)"
        assert dark == name.endswith("dark"), name
        assert page["overflow"] <= 0, name
    assert seen["paper"] == "rgb(255, 255, 255)"


async def test_browsers_report_no_errors(seen: Any) -> None:
    assert seen["complaints"] == [UNAUTHORIZED]  # of the wrong key
    assert seen["foreign"] == []


async def test_axe_finds_nothing(seen: Any) -> None:
    assert {name: page["violations"] for name, page in seen["pages"].items() if page["violations"]} == {}


async def test_report_is_drawn_from_its_file_alone(seen: Any) -> None:
    assert kinds(seen["pages"]["report"]) == kinds(seen["pages"]["funnel"])
    assert seen["pages"]["report"]["verdict"] == "Ship it: test"
