"""Links that show one experiment to people who are not signed in."""

import re
from dataclasses import replace
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from app.accounts.projects.service import AccountService
from app.common import limits
from app.db.database import Database
from app.db.models import ShareLink, utc_now
from tests.pages.conftest import Page, Visitor, clear_win
from tests.support.service import Service

pytestmark = pytest.mark.one_database


async def share(visitor: Visitor, experiment: Any, days: str = "30") -> Page:
    return Page(await visitor.browser.post(f"{visitor.path(experiment)}share/", data={"days": days}))


def link_of(page: Page) -> str:
    [address] = re.findall(r'readonly value="([^"]*)"', page.response.text)
    return str(address)


async def follow(browser: httpx.AsyncClient, address: str) -> Page:
    """Open an address without the cookie."""
    browser.cookies.clear()
    return Page(await browser.get(address))


async def test_link_shows_the_experiment_and_nothing_else(service: Service, visitor: Visitor) -> None:
    experiment = await clear_win(service)
    made = await share(visitor, experiment)

    page = await follow(visitor.browser, link_of(made))

    assert page.status == 200
    assert "Ship it: test" in page.text
    assert list(page.charts) == ["densities", "differences", "days", "exposures", "funnel"]
    offered = [one for one in page.addresses if "/assets/" not in one and not one.startswith(("data:", "#"))]
    assert offered == ["/experiments/"]
    assert page.response.headers["Referrer-Policy"] == "same-origin"
    assert (await visitor.look(experiment)).text.count("Sign in") > 0


async def test_only_the_digest_of_a_link_is_stored(service: Service, visitor: Visitor, database: Database) -> None:
    experiment = await service.create_experiment()
    token = link_of(await share(visitor, experiment)).partition("token=")[2]

    async with database.read() as session:
        stored = (await session.scalars(select(ShareLink.digest))).all()

    assert len(token) > 40
    assert token not in stored
    assert token not in (await visitor.browser.get(f"{visitor.path(experiment)}share/")).text


async def test_link_ends_when_it_is_revoked_or_expires_or_the_experiment_is_deleted(
    service: Service, visitor: Visitor, database: Database
) -> None:
    experiment = await service.create_experiment()
    revoked, expired, orphaned = [link_of(await share(visitor, experiment)) for _ in range(3)]
    page = await visitor.browser.get(f"{visitor.path(experiment)}share/")
    ends = re.findall(r'action="([^"]*/revoke/)"', page.text)
    assert (await visitor.browser.post(ends[-1])).status_code == 303
    assert (await visitor.browser.post(ends[-1])).status_code == 404
    async with database.write() as session:
        of_experiment = select(ShareLink.id).where(ShareLink.experiment_id == experiment["id"]).order_by(ShareLink.id)
        second = (await session.scalars(of_experiment)).all()[0]
        await session.execute(update(ShareLink).where(ShareLink.id == second).values(expires_at=utc_now()))
    statuses = [(await visitor.browser.get(link)).status_code for link in (revoked, expired, orphaned)]
    await service.delete(f"/experiments/{experiment['id']}/")

    assert statuses == [404, 404, 200]
    assert (await visitor.browser.get(orphaned)).status_code == 404


@pytest.mark.parametrize("token", ["", "x", "\x00", "x" * 5000])
async def test_unknown_link_is_not_found(visitor: Visitor, token: str) -> None:
    answer = await visitor.browser.get("/experiments/shared/", params={"token": token})

    assert answer.status_code == 404


@pytest.mark.parametrize("days", ["", "0", "-1", "31", "9" * 50, "x"])
async def test_lifetime_is_one_of_those_offered(service: Service, visitor: Visitor, days: str) -> None:
    experiment = await service.create_experiment()

    assert (await share(visitor, experiment, days)).status == 400


async def test_number_of_links_is_bounded(service: Service, visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = await service.create_experiment()
    monkeypatch.setattr(limits, "SHARE_LINKS", replace(limits.SHARE_LINKS, value=1))
    assert (await share(visitor, experiment)).status == 200

    page = await share(visitor, experiment)

    assert page.status == 400
    assert "An experiment may have at most 1 links at a time" in page.text


async def test_who_may_only_read_shares_nothing(service: Service, visitor: Visitor, database: Database) -> None:
    experiment = await service.create_experiment()
    async with database.write() as session:
        _, key = await AccountService(session).create_key(service.email, "Reader", ["experiment:read"])
    await visitor.sign_in(key)

    assert "/share/" not in (await visitor.look(experiment)).response.text
    assert (await share(visitor, experiment)).status == 403
