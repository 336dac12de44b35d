"""The history of an experiment on its pages: who changed what, and the results as they were."""

import json
import re

import pytest
from sqlalchemy import select

from app.accounts.projects.service import AccountService
from app.db.database import Database
from app.db.models.snapshot import Snapshot
from tests.pages.conftest import Page, Visitor, clear_win, send, shown
from tests.support.service import TREND, Service

pytestmark = pytest.mark.one_database


async def test_activity_shows_who_changed_what(service: Service, visitor: Visitor) -> None:
    experiment = await service.create_experiment()
    await service.patch(f"/experiments/{experiment['id']}/", {"name": "Bigger <b>"})

    page = Page(await visitor.browser.get(f"{visitor.path(experiment)}history/"))
    of_flag = Page(await visitor.browser.get(f"{visitor.path(experiment)}history/", params={"of": "flag"}))

    assert f"Updated by {service.email}" in page.text
    assert "name Checkout button Bigger <b>" in page.text
    assert "<b>" not in page.response.text
    assert f"Created by {service.email}" in of_flag.text
    assert "Updated" not in of_flag.text


async def test_snapshot_keeps_the_results_whatever_comes(service: Service, visitor: Visitor) -> None:
    experiment = await clear_win(service)
    taken = await visitor.browser.post(f"{visitor.path(experiment)}history/")
    await send(service, shown(100, "test"))
    await send(service, [{**one, "distinct_id": f"late-{n}"} for n, one in enumerate(shown(50, "test"))])

    page = Page(await visitor.browser.get(taken.headers["Location"]))

    assert page.status == 200
    assert "test 400 120 30.0%" in page.text
    assert "on request" in Page(await visitor.browser.get(f"{visitor.path(experiment)}history/")).text
    assert len((await service.read(f"/experiments/{experiment['id']}/snapshots/"))["results"]) == 1


async def test_snapshot_from_before_goals_counted_says_whose_probability_it_shows(
    service: Service, visitor: Visitor, database: Database
) -> None:
    fewer = {"name": "Refunds", "filters": TREND, "goal": "decrease"}
    experiment = await clear_win(service, secondary_metrics=[fewer])
    taken = await visitor.browser.post(f"{visitor.path(experiment)}history/")
    address = taken.headers["Location"]
    shown_as_taken = Page(await visitor.browser.get(address)).text
    assert "Refunds less is better" in shown_as_taken
    assert "being highest" not in shown_as_taken

    async with database.write() as session:
        snapshot = (await session.scalars(select(Snapshot).where(Snapshot.experiment_id == experiment["id"]))).one()
        content = json.loads(snapshot.content)
        for metric in content["analysis"]["metrics"]:
            del metric["analysis"]["goal"]
        snapshot.content = json.dumps(content)

    assert (
        "Probability of being highest Probability of exceeding control" in Page(await visitor.browser.get(address)).text
    )


async def test_snapshot_without_an_analysis_says_why(service: Service, visitor: Visitor) -> None:
    experiment = await service.create_experiment(end_date=None)
    await service.post(f"/experiments/{experiment['id']}/end/", {})
    history = await visitor.browser.get(f"{visitor.path(experiment)}history/")
    [address] = re.findall(r'href="(/experiments/\d+/\d+/history/\d+/)"', history.text)

    assert (await visitor.browser.get(address)).status_code == 200


async def test_other_experiments_snapshots_are_not_found(
    service: Service, visitor: Visitor, database: Database
) -> None:
    first = await service.create_experiment()
    other = await service.create_experiment(feature_flag_key="other")
    taken = await visitor.browser.post(f"{visitor.path(first)}history/")
    number = taken.headers["Location"].rstrip("/").rpartition("/")[2]

    assert (await visitor.browser.get(f"{visitor.path(other)}history/{number}/")).status_code == 404
    assert (await visitor.browser.get(f"{visitor.path(other)}history/x/")).status_code == 404
    async with database.write() as session:
        _, key = await AccountService(session).create_key(service.email, "Reader", ["experiment:read"])
    await visitor.sign_in(key)
    assert "Take a snapshot" not in (await visitor.browser.get(f"{visitor.path(first)}history/")).text
    assert (await visitor.browser.post(f"{visitor.path(first)}history/")).status_code == 403


async def test_figures_are_downloaded_as_the_api_writes_them(service: Service, visitor: Visitor) -> None:
    experiment = await clear_win(service)
    page = await visitor.browser.get(f"{visitor.path(experiment)}history/")
    addresses = re.findall(r'href="([^"]+/download/[^"]+)"', page.text)

    for address in addresses:
        table = address.rpartition("=")[2]
        file = await visitor.browser.get(address)
        exported = await service.get(f"/experiments/{experiment['id']}/export/", format="csv", table=table)
        assert (file.status_code, file.text) == (200, exported.text)
        assert (
            file.headers["Content-Disposition"] == f'attachment; filename="experiment-{experiment["id"]}-{table}.csv"'
        )

    assert len(addresses) == 4
    assert (await visitor.browser.get(f"{visitor.path(experiment)}download/?table=other")).status_code == 400
