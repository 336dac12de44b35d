"""Actions on the page of an experiment: offered as state and scopes allow, asked for, and done as by the API."""

import re
from typing import Any

import pytest

from app.accounts.projects.service import AccountService
from app.db.database import Database
from tests.pages.conftest import Page, Visitor, clear_win
from tests.support.service import Service

pytestmark = pytest.mark.one_database

DRAFT: dict[str, Any] = {"start_date": None, "end_date": None}
RUNNING: dict[str, Any] = {"end_date": None}


def offers(page: Page) -> list[str]:
    return re.findall(r'/do/(\w+)/"', page.response.text)


async def ask(visitor: Visitor, experiment: Any, action: str) -> Page:
    return Page(await visitor.browser.get(f"{visitor.path(experiment)}do/{action}/"))


async def do(visitor: Visitor, experiment: Any, action: str, **fields: str) -> Page:
    return Page(await visitor.browser.post(f"{visitor.path(experiment)}do/{action}/", data=fields))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (DRAFT, ["launch", "duplicate", "delete"]),
        (RUNNING, ["ship", "end", "pause", "freeze", "conclude", "duplicate", "reset", "delete"]),
        ({}, ["ship", "conclude", "archive", "duplicate", "reset", "delete"]),
        ({"archived": True}, ["ship", "conclude", "unarchive", "duplicate", "reset", "delete"]),
    ],
)
async def test_page_offers_what_the_state_allows(
    service: Service, visitor: Visitor, fields: dict[str, Any], expected: list[str]
) -> None:
    experiment = await service.create_experiment(**fields)

    page = await visitor.look(experiment)

    assert offers(page) == expected
    for action in ("archive", "unarchive"):
        refused = "The state of the experiment does not allow this" in (await ask(visitor, experiment, action)).text
        assert refused is (action not in expected)


async def test_whole_life_of_an_experiment_leads_through_the_states(service: Service, visitor: Visitor) -> None:
    experiment = await service.create_experiment(**DRAFT)
    path = f"/experiments/{experiment['id']}/"
    steps: list[tuple[str, dict[str, str], str]] = [
        ("launch", {"against": "yes"}, "running"),
        ("pause", {}, "paused"),
        ("resume", {}, "running"),
        ("freeze", {}, "exposure_frozen"),
        ("unfreeze", {}, "running"),
        ("ship", {"variant_key": "test", "conclusion": "won", "against": "yes"}, "stopped"),
        ("conclude", {"conclusion": "inconclusive", "conclusion_comment": "Too few."}, "stopped"),
        ("archive", {}, "stopped"),
        ("unarchive", {}, "stopped"),
        ("reset", {}, "draft"),
    ]

    for action, fields, status in steps:
        done = await do(visitor, experiment, action, **fields)
        assert done.status == 303, (action, done.text)
        assert (await service.read(path))["status"] == status, action

    log = await service.read(f"{path}activity/")
    assert [entry["activity"] for entry in reversed(log["results"])] == [
        "created",
        "launched",
        "paused",
        "resumed",
        "exposure_frozen",
        "exposure_unfrozen",
        "shipped",
        "updated",
        "archived",
        "unarchived",
        "reset",
    ]
    assert (await do(visitor, experiment, "delete")).response.headers["Location"] == f"{visitor.path()}?done=delete"
    assert (await service.get(path)).status_code == 404


async def test_duplicate_opens_the_copy(service: Service, visitor: Visitor) -> None:
    experiment = await service.create_experiment()

    done = await do(visitor, experiment, "duplicate", name="Again", feature_flag_key="again")

    copy = Page(await visitor.browser.get(done.response.headers["Location"]))
    assert "This is the copy, a draft." in copy.text
    assert "Flag again" in copy.text


async def test_recommended_variant_is_chosen_and_shipped_without_an_objection(
    service: Service, visitor: Visitor
) -> None:
    experiment = await clear_win(service, end_date=None)

    asked = await ask(visitor, experiment, "ship")
    done = await do(visitor, experiment, "ship", variant_key="test", conclusion="won")

    assert 'value="test" checked' in asked.response.text
    assert "Test Variant recommended" in asked.text
    assert done.status == 303
    assert "The variant is shipped" in Page(await visitor.browser.get(done.response.headers["Location"])).text


async def test_choice_against_the_recommendation_is_opposed_once(service: Service, visitor: Visitor) -> None:
    experiment = await clear_win(service, end_date=None)
    decision = await service.read(f"/experiments/{experiment['id']}/decision/")

    opposed = await do(visitor, experiment, "ship", variant_key="control", conclusion_comment="Kept")

    assert opposed.status == 409
    assert "The recommendation is another one: Ship it: test" in opposed.text
    assert decision["summary"] in opposed.text
    assert "Kept" in opposed.text
    assert 'value="control" checked' in opposed.response.text
    assert (await service.read(f"/experiments/{experiment['id']}/"))["status"] == "running"
    assert (await do(visitor, experiment, "ship", variant_key="control", against="yes")).status == 303


@pytest.mark.parametrize(
    ("action", "fields", "reason"),
    [
        ("launch", DRAFT, "The launch checklist is not done"),
        ("delete", RUNNING, "It is running"),
        ("reset", RUNNING, "It is running"),
    ],
)
async def test_hasty_action_is_opposed(
    service: Service, visitor: Visitor, action: str, fields: dict[str, Any], reason: str
) -> None:
    experiment = await service.create_experiment(**fields)

    asked = (await ask(visitor, experiment, action)).text
    assert reason in asked
    assert "`" not in asked
    assert (await do(visitor, experiment, action)).status == 409
    assert (await do(visitor, experiment, action, against="yes")).status == 303


@pytest.mark.parametrize(
    ("action", "fields"),
    [
        ("pause", {}),
        ("ship", {"variant_key": "nobody\x00"}),
        ("ship", {}),
        ("conclude", {"conclusion": "x"}),
        ("conclude", {"conclusion_comment": "x" * 4000}),
        ("duplicate", {"feature_flag_key": "checkout"}),
    ],
)
async def test_refusal_of_the_api_is_shown_where_it_was_asked(
    service: Service, visitor: Visitor, action: str, fields: dict[str, str]
) -> None:
    experiment = await service.create_experiment()

    page = await do(visitor, experiment, action, **fields, against="yes")

    assert page.status == 400
    assert 'role="alert"' in page.response.text


async def test_variants_without_names_can_be_shipped(service: Service, visitor: Visitor) -> None:
    split = [{"key": key, "rollout_percentage": 50} for key in ("control", "test")]
    experiment = await service.create_experiment(parameters={"feature_flag_variants": split})

    assert (await ask(visitor, experiment, "ship")).status == 200


async def test_unknown_actions_and_experiments_are_not_found(service: Service, visitor: Visitor) -> None:
    experiment = await service.create_experiment()

    assert (await ask(visitor, experiment, "explode")).status == 404
    assert (await do(visitor, {"id": 999}, "pause")).status == 404


async def test_nothing_is_offered_or_done_without_the_scope(
    service: Service, visitor: Visitor, database: Database
) -> None:
    experiment = await service.create_experiment(**RUNNING)
    async with database.write() as session:
        _, key = await AccountService(session).create_key(service.email, "Reader", ["experiment:read"])
    await visitor.sign_in(key)

    page = await visitor.look(experiment)

    assert offers(page) == []
    assert "/edit/" not in page.response.text
    assert (await do(visitor, experiment, "pause", against="yes")).status == 403
    assert (await service.read(f"/experiments/{experiment['id']}/"))["status"] == "running"


async def test_action_of_another_site_is_refused(service: Service, visitor: Visitor) -> None:
    experiment = await service.create_experiment(**RUNNING)
    path = f"{visitor.path(experiment)}do/pause/"

    answer = await visitor.browser.post(path, data={"against": "yes"}, headers={"Sec-Fetch-Site": "cross-site"})

    assert answer.status_code == 403
    assert (await service.read(f"/experiments/{experiment['id']}/"))["status"] == "running"
