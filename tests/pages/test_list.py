"""The list of experiments: what it shows of each, and which ones it shows."""

import re
from typing import Any

import pytest

from app.db.database import Database
from app.pages import router
from app.pages.listing import service as listing
from tests.pages.conftest import Page, Visitor, clear_win, send, shown
from tests.support.service import TREND, Service
from tests.support.verdicts import form_verdicts

pytestmark = pytest.mark.one_database


async def names(visitor: Visitor, **query: Any) -> list[str]:
    page = await visitor.browser.get(visitor.path(), params=query)
    assert page.status_code == 200
    return re.findall(r'<h2><a href="[^"]*" dir="auto">([^<]*)</a>', page.text)


@pytest.fixture
async def three(service: Service) -> None:
    draft = {"start_date": None, "end_date": None}
    await service.create_experiment(name="Bold prices", feature_flag_key="a", **draft)
    await service.create_experiment(name="Checkout", feature_flag_key="b")
    await service.create_experiment(name="Alt texts", feature_flag_key="c", archived=True)


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["Checkout", "Bold prices"]),
        ({"archived": "all"}, ["Alt texts", "Checkout", "Bold prices"]),
        ({"archived": "only"}, ["Alt texts"]),
        ({"status": "draft"}, ["Bold prices"]),
        ({"search": "  BOLD "}, ["Bold prices"]),
        ({"search": "%"}, []),
        ({"order": "name", "archived": "all"}, ["Alt texts", "Bold prices", "Checkout"]),
        ({"owner": "me"}, ["Checkout", "Bold prices"]),
        ({"status": "x", "order": "; drop", "archived": "\x00", "offset": "-1"}, ["Checkout", "Bold prices"]),
    ],
)
async def test_list_is_searched_filtered_and_sorted(visitor: Visitor, query: Any, expected: list[str]) -> None:
    assert await names(visitor, **query) == expected


async def test_list_leads_to_every_experiment_and_keeps_its_filters(
    service: Service, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(router, "PAGE_ITEMS", 2)
    for number in range(3):
        await service.create_experiment(name=f"Number {number}", feature_flag_key=f"flag-{number}")

    first = Page(await visitor.browser.get(visitor.path(), params={"search": "number"}))

    assert await names(visitor, offset=2) == ["Number 0"]
    assert "?search=number&amp;offset=2" in first.addresses


async def test_list_shows_the_verdict_of_each_experiment_and_who_owns_it(service: Service, visitor: Visitor) -> None:
    await clear_win(service)
    await service.create_experiment(name="Young", feature_flag_key="young", filters=TREND, end_date=None)
    await send(service, [*shown(5, "control", "young"), *shown(5, "test", "young")])

    text = (await visitor.look()).text

    assert "Ship it: test" in text
    assert re.search(r"Young running (?!Ship)", text)
    assert service.email in text


async def test_list_does_not_wait_for_what_is_still_counted_and_shows_what_was_known_last(
    service: Service, visitor: Visitor, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await clear_win(service)
    monkeypatch.setattr(listing, "_SECONDS", 0)

    assert "still counting" in (await visitor.look()).text

    await form_verdicts(database, service)

    assert "Ship it: test" in (await visitor.look()).text
