"""The whole life of an experiment in a browser: by mouse, by keyboard alone, and without JavaScript."""

import asyncio
import json
import os
from typing import Any

import pytest

from tests.pages.test_browser import CHROMIUM, MODULES, run_script
from tests.test_cli import abacus, served

pytestmark = pytest.mark.browser

STATUSES_OF_REFUSALS = ("400 (Bad Request)", "409 (Conflict)")


@pytest.fixture(scope="module")
async def seen(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("life")
    environment = {**os.environ, "ABACUS_DATABASE_URL": f"sqlite:///{folder / 'abacus.db'}"}
    made = json.loads(
        abacus(environment, "project", "create", "--name", "Shop", "--email", "ann@example.com", "--json")
    )
    with served(environment) as address:
        link = abacus(environment, "user", "sign-in-link", "--email", "ann@example.com", "--url", address).strip()
        task = {
            "address": address,
            "project": made["project_id"],
            "token": made["project_token"],
            "key": made["personal_api_key"],
            "link": link,
            "report": "",
            "modules": str(MODULES),
            "chromium": CHROMIUM,
        }
        return await asyncio.to_thread(run_script, "life.mjs", task)


async def test_experiment_is_led_from_its_creation_to_a_shipped_variant_by_mouse(seen: Any) -> None:
    assert seen["lives"]["mouse"] == [
        "draft",
        "running",
        "paused",
        "running",
        "stopped",
        "Decided: test",
        "Three times as many buy.",
        "the person's plan is pro",
        "banner",
    ]


async def test_the_same_life_is_led_by_keyboard_alone(seen: Any) -> None:
    assert seen["lives"]["keyboard"] == ["draft", "running", "stopped", "Decided: test"]


async def test_forms_work_without_javascript(seen: Any) -> None:
    assert seen["lives"]["plain"] == ["draft", ["control", "test", "huge"]]


async def test_metric_shows_the_fields_of_its_kind_only(seen: Any) -> None:
    own = {"m0_name", "m0_kind", "m0_goal"}
    source = {"m0_event", "m0_math", "m0_property"}
    below = {"m0_below_event", "m0_below_math", "m0_below_property"}
    expected = {
        "mean": source | {"m0_window"},
        "ratio": source | below | {"m0_window"},
        "retention": {"m0_event", "m0_start", "m0_from", "m0_until", "m0_window"},
        "quantile": source | {"m0_quantile", "m0_window"},
        "trend_2022": source,
        "funnel_2022": {"m0_step0", "m0_step1"},
        "funnel": {"m0_step0", "m0_step1", "m0_window"},
    }
    shown = {kind: own | fields for kind, fields in expected.items()}
    shown["json"] = {"m0_kind", "m0_json"}  # which has a name and a goal of its own
    assert {kind: set(seen[f"fields of {kind}"]) for kind in shown} == shown


async def test_axe_finds_nothing_on_any_page(seen: Any) -> None:
    assert len(seen["pages"]) > 30
    assert {name: page["violations"] for name, page in seen["pages"].items() if page["violations"]} == {}


async def test_no_page_is_wider_than_a_small_phone(seen: Any) -> None:
    assert {name: page["overflow"] for name, page in seen["pages"].items() if page["overflow"] > 0} == {}


async def test_nothing_is_asked_of_other_hosts_and_nothing_fails(seen: Any) -> None:
    assert seen["foreign"] == []
    assert [text for text in seen["complaints"] if not text.rstrip(".").endswith(STATUSES_OF_REFUSALS)] == []
