"""How pages are served: by which addresses, under which headers, and what becomes of those that take long."""

import asyncio
import contextlib
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from app.experiments.counting.service import CountedExperiment, ExperimentCounter
from app.pages.dependencies import get_pages
from tests.pages.conftest import Page, Visitor, clear_win
from tests.support.service import Service

pytestmark = pytest.mark.one_database


async def test_empty_list_says_how_to_begin(visitor: Visitor) -> None:
    assert "No experiments yet" in (await visitor.look()).text


async def test_callers_own_project_is_opened_by_default(service: Service, visitor: Visitor) -> None:
    answer = await visitor.browser.get("/experiments")

    assert (answer.status_code, answer.headers["Location"]) == (303, f"/experiments/{service.project_id}/")


@pytest.mark.parametrize(
    "error",
    [asyncpg.ConnectionDoesNotExistError("connection was closed"), asyncpg.InterfaceError("connection is closed")],
    ids=repr,
)
async def test_lost_database_is_reported_as_a_page(
    service: Service, visitor: Visitor, application: FastAPI, error: Exception
) -> None:
    experiment = await service.create_experiment()

    async def lose_database() -> None:
        raise error

    application.dependency_overrides[get_pages] = lose_database
    try:
        page = await visitor.look(experiment)
    finally:
        del application.dependency_overrides[get_pages]

    headers = page.response.headers
    assert (page.status, headers["Content-Type"], headers["Retry-After"]) == (503, "text/html; charset=utf-8", "1")
    assert "The request failed" in page.text
    assert "default-src 'none'" in headers["Content-Security-Policy"]


async def test_pages_load_from_their_own_host_and_are_not_cached(service: Service, visitor: Visitor) -> None:
    experiment = await clear_win(service)
    pages = [
        await visitor.look(),
        await visitor.look(experiment),
        await visitor.look({"id": 999}),
        Page(await visitor.sign_in("phx_wrong")),
    ]

    for page in pages:
        headers = page.response.headers
        policy = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
        assert policy["default-src"] == policy["connect-src"] == policy["frame-ancestors"] == "'none'"
        assert policy["script-src"] == policy["form-action"] == "'self'"
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert [one for one in page.addresses if not one.startswith(("/experiments/", "data:", "#main"))] == []
    loaded = [one for one in pages[1].addresses if one.startswith("/experiments/assets/")]
    answers = [await visitor.browser.get(one) for one in loaded]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert {answer.headers["Cache-Control"] for answer in answers} == {"public, max-age=31536000, immutable"}
    assert {answer.headers["Content-Encoding"] for answer in answers} == {"gzip"}
    plain = [await visitor.browser.get(one, headers={"Accept-Encoding": "identity"}) for one in loaded]
    assert [answer.content for answer in plain] == [answer.content for answer in answers]


@pytest.mark.parametrize("name", ["LICENSES.txt", "..%2F..%2Fmain.py", "nothing.js"])
async def test_unknown_assets_are_not_found(stranger: Visitor, name: str) -> None:
    assert (await stranger.browser.get(f"/experiments/assets/0/{name}")).status_code == 404


async def test_every_link_carries_the_path_prefix(service: Service, application: FastAPI) -> None:
    experiment = await clear_win(service)
    transport = httpx.ASGITransport(app=application, root_path="/abacus")
    async with httpx.AsyncClient(transport=transport, base_url="http://abacus.test") as browser:
        path = f"/abacus/experiments/{service.project_id}/{experiment['id']}/"
        entered = await browser.post("/abacus/experiments/sign-in/", data={"key": service.key, "next": path})
        page = Page(await browser.get(path))

    assert entered.headers["Location"] == path
    assert "Path=/abacus/experiments;" in entered.headers["Set-Cookie"]
    assert page.status == 200
    assert [one for one in page.addresses if not one.startswith(("/abacus/experiments/", "data:", "#main"))] == []


async def test_pages_are_not_part_of_the_documented_api(application: FastAPI) -> None:
    assert [path for path in application.openapi()["paths"] if path.startswith("/experiments")] == []


async def test_visitors_at_the_same_time_share_one_count(
    service: Service, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = await service.create_experiment()
    count, counted = ExperimentCounter.count, 0

    async def note_count(self: ExperimentCounter, *arguments: Any, **options: Any) -> CountedExperiment:
        nonlocal counted
        counted += 1
        return await count(self, *arguments, **options)

    monkeypatch.setattr(ExperimentCounter, "count", note_count)
    pages = await asyncio.gather(*(visitor.look(experiment) for _ in range(20)))

    assert {page.status for page in pages} == {200}
    assert counted <= 2  # for those before the first count began, and for those after


async def test_page_that_takes_too_long_says_so_and_tries_again(
    service: Service, visitor: Visitor, application: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    experiment = await service.create_experiment()
    settings = application.state.settings
    application.state.settings = settings.model_copy(update={"results_timeout": 0.05})
    try:
        async with contextlib.AsyncExitStack() as held:
            for _ in range(application.state.settings.database_pool_size - 3):  # all that one project may have
                await held.enter_async_context(application.state.database.aggregation_slots.slot(service.project_id))
            unmeasured = await visitor.look(experiment)
            progress = application.state.materializer.progress
            held.enter_context(progress.measuring(service.project_id, {1: (30, 100), 2: (100, 100)}))
            page = await visitor.look(experiment)
            results = await service.get(f"/experiments/{experiment['id']}/results/")
    finally:
        application.state.settings = settings

    assert (page.status, page.response.headers["Retry-After"]) == (202, "2")
    assert "This experiment is still being counted." in page.text
    assert '<meta http-equiv="refresh" content="2">' in page.response.text
    assert "65 % of the events are done" in page.text
    assert "This experiment is still being counted." in unmeasured.text
    assert "%" not in unmeasured.text
    assert (results.status_code, results.headers["Retry-After"]) == (503, "10")
    assert results.json()["detail"] == "Results are still being counted: 65 % of the events are done. Please try again."
    assert "waiting for an aggregation slot" in caplog.text
