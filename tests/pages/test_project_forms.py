"""The forms of holdouts, cohorts, webhooks and settings: they send what a client of the API would send."""

import asyncio
import re
from typing import Any

import pytest

from app.accounts.projects.service import AccountService
from app.db.database import Database
from app.pages.formatting import format_change, format_number
from tests.experiments.test_holdouts import analysis_of, hold, running_twice
from tests.pages.conftest import FormFields, Page, Visitor
from tests.support.service import Service, event, exposure

pytestmark = pytest.mark.one_database

CONDITION = {"key": "plan", "operator": "exact", "value": ["pro", "team"], "type": "person"}
ROW = {"c0_key": "plan", "c0_operator": "exact", "c0_value": "pro, team"}


async def look(visitor: Visitor, path: str) -> Page:
    return Page(await visitor.browser.get(f"{visitor.path()}{path}"))


async def send(visitor: Visitor, path: str, **fields: str) -> Page:
    return Page(await visitor.browser.post(f"{visitor.path()}{path}", data=fields))


def fields_of(page: Page) -> dict[str, str]:
    """Return what a browser sends of a page's form."""
    assert page.status == 200, page.text
    reader = FormFields()
    reader.feed(page.response.text)
    return reader.fields


async def only(service: Service, path: str) -> Any:
    [found] = (await service.read(path))["results"]
    return found


async def delete(visitor: Visitor, path: str) -> Page:
    """Delete something as a visitor would, who is asked before."""
    question = await send(visitor, path, seen=fields_of(await look(visitor, path))["seen"], do="delete")
    assert "for good" in question.text
    return await send(visitor, path, **fields_of(question), do="delete")


async def test_holdout_is_made_named_by_an_experiment_and_deleted_after_it(service: Service, visitor: Visitor) -> None:
    for wrong, field in (({"name": ""}, "name"), ({"share": "x"}, "share"), ({"share": "101"}, "share")):
        refused = await send(visitor, "holdouts/new/", **{"name": "Quiet", "share": "5", **wrong})
        assert (refused.status, f'"#error-{field}"' in refused.response.text) == (400, True), wrong

    assert (await send(visitor, "holdouts/new/", name="Quiet", share="5", description="One\r\nTwo")).status == 303

    holdout = await only(service, "/experiment_holdouts/")
    assert (holdout["name"], holdout["filters"][0]["rollout_percentage"]) == ("Quiet", 5)
    path = f"holdouts/{holdout['id']}/"
    experiment = await service.create_experiment(start_date=None, end_date=None, holdout_id=holdout["id"])
    assert "Quiet 5%" in (await look(visitor, "holdouts/")).text
    assert "Named by Checkout button (draft)" in (await look(visitor, path)).text
    fields = fields_of(await look(visitor, path))
    assert (await send(visitor, path, **{**fields, "share": "7.5"})).status == 303
    flag = await service.read(f"/feature_flags/{experiment['feature_flag']}/")
    assert flag["filters"]["holdout"] == {"id": holdout["id"], "exclusion_percentage": 7.5}
    assert (await send(visitor, path, **fields)).status == 409  # it was changed meanwhile
    kept = await delete(visitor, path)
    assert (kept.status, "named by the experiment 'Checkout button'" in kept.text) == (400, True)
    await service.post(f"/experiments/{experiment['id']}/launch/", {})
    fields = fields_of(await look(visitor, path))
    late = await send(visitor, path, **{**fields, "share": "9"})
    assert (late.status, 'id="error-share">The percentage cannot change' in late.response.text) == (400, True)
    assert (await service.delete(f"/experiments/{experiment['id']}/")).status_code == 204
    assert (await delete(visitor, path)).status == 303


async def test_page_of_a_holdout_says_what_its_experiments_changed_together(service: Service, visitor: Visitor) -> None:
    nothing = await hold(service)
    held, [_, second] = await running_twice(service)
    people = ((held, 150, 15), ("test", 450, 90))
    await service.capture(
        *(exposure(f"{name}-{n}", name) for name, count, _ in people for n in range(count)),
        *(event("purchase", f"{name}-{n}") for name, _, buyers in people for n in range(buyers)),
    )
    analysis = (await analysis_of(service, held))["metric"]

    page = await look(visitor, f"holdouts/{held.removeprefix('holdout-')}/results/")

    others = analysis["analysis"]["variants"][1]
    assert f"others 450 90 {format_number(others['mean'])}" in page.text
    assert format_change(others["delta_relative"]) in page.text
    assert "Held out: 150 persons. Others: 450." in page.text
    assert "do not match the share" not in page.text
    assert f'{visitor.path(second)}"' in page.response.text
    assert "there is no shared one" in (await look(visitor, f"holdouts/{nothing['id']}/results/")).text


async def test_cohort_of_conditions_is_made_counted_changed_and_deleted(service: Service, visitor: Visitor) -> None:
    for name, plan in (("ann", "pro"), ("bob", "free")):
        await service.capture({"event": "$identify", "distinct_id": name, "properties": {"$set": {"plan": plan}}})
    wrong: list[tuple[dict[str, str], str]] = [
        ({"name": ""}, "name"),
        ({"c0_key": ""}, "c0_key"),
        ({"c0_value": ""}, "c0_value"),
        ({"c0_operator": "is_not", "c0_value": " , "}, "c0_value"),
        ({"c0_key": "", "c0_value": ""}, "conditions"),
        ({"ids": "ann"}, "ids"),
        ({"kind": "list"}, "conditions"),
        ({"c0_operator": "regex", "c0_value": "("}, "conditions"),
        ({"c0_operator": "in_cohort", "c0_value": "99"}, "conditions"),
        ({"json": "{"}, "json"),
        ({"json": '{"properties": {"type": "AND", "values": [{"type": "behavioral"}]}}'}, "json"),
    ]
    for change, field in wrong:
        refused = await send(visitor, "cohorts/new/", **{"name": "Paying", "kind": "criteria", **ROW, **change})
        assert (refused.status, f'"#error-{field}"' in refused.response.text) == (400, True), (change, refused.text)

    assert (await send(visitor, "cohorts/new/", name="Paying", kind="criteria", match="OR", **ROW)).status == 303

    cohort = await only(service, "/cohorts/")
    assert cohort["filters"] == {"properties": {"type": "OR", "values": [CONDITION]}}
    path = f"cohorts/{cohort['id']}/"
    assert f"Number {cohort['id']}: 1 person at the moment" in (await look(visitor, f"{path}?count=yes")).text
    fields = fields_of(await look(visitor, path))
    more = fields_of(await send(visitor, path, **{**fields, "do": "add-c"}))
    added = {**more, "c1_key": "age", "c1_operator": "gt", "c1_value": "17", "match": "AND"}
    assert (await send(visitor, path, **added)).status == 303
    assert [one["key"] for one in (await only(service, "/cohorts/"))["filters"]["properties"]["values"]] == [
        "plan",
        "age",
    ]
    assert (await send(visitor, path, **fields)).status == 409  # it was changed meanwhile
    assert (await delete(visitor, path)).status == 303
    assert "None yet" in (await look(visitor, "cohorts/")).text


async def test_list_of_persons_is_made_and_grows(service: Service, visitor: Visitor) -> None:
    many = await send(visitor, "cohorts/new/", name="Friends", kind="list", ids="a\r\n" * 20_000 + "a", c0_key="")
    assert (many.status, "At most 20,000 ids at a time" in many.text) == (400, True)

    made = await send(visitor, "cohorts/new/", name="Friends", kind="list", ids="ann\r\n\r\n bob ", c0_key="")
    assert made.status == 303, made.text
    cohort = await only(service, "/cohorts/")
    await service.capture({"event": "x", "distinct_id": "bob"}, {"event": "x", "distinct_id": "cy"})
    path = f"cohorts/{cohort['id']}/"

    grown = await send(visitor, path, **{**fields_of(await look(visitor, path)), "ids": "cy"})

    assert grown.status == 303, grown.text
    assert (await service.read(f"/{path}"))["count"] == 2
    assert "2 persons are known" in (await look(visitor, "cohorts/")).text


async def test_webhook_is_made_with_a_secret_that_is_shown_once(service: Service, visitor: Visitor) -> None:
    ticked = {"experiment.launched": "yes", "experiment.decision.ship": "yes"}
    url = "https://hooks.example.com/in"
    for wrong, field in (
        ({"url": ""}, "url"),
        ({"url": "ftp://x"}, "url"),
        ({"url": "http://127.0.0.1/"}, "url"),
        ({"secret": "short"}, "secret"),
        ({"experiment.launched": "", "experiment.decision.ship": ""}, "events"),
    ):
        refused = await send(visitor, "webhooks/new/", **{"url": url, **ticked, **wrong})
        assert (refused.status, f'"#error-{field}"' in refused.response.text) == (400, True), wrong

    made = await send(visitor, "webhooks/new/", url=url, **ticked)

    webhook = await only(service, "/experiment_webhooks/")
    assert (webhook["url"], webhook["events"], webhook["active"]) == (url, list(ticked), False)
    [secret] = re.findall(r'id="made" readonly value="([^"]+)"', made.response.text)
    path = f"webhooks/{webhook['id']}/"
    shown = await look(visitor, path)
    assert (secret.startswith("whs_"), secret in shown.response.text) == (True, False)
    fields = fields_of(shown)
    assert (await send(visitor, path, **{**fields, "active": "yes"})).status == 303
    assert (await only(service, "/experiment_webhooks/"))["active"]
    assert (
        "hooks.example.com active experiment.launched, experiment.decision.ship"
        in (await look(visitor, "webhooks/")).text
    )
    assert (await send(visitor, path, **fields)).status == 409  # it was changed meanwhile
    assert (await delete(visitor, path)).status == 303


async def test_test_of_a_webhook_says_where_it_went_and_keeps_what_is_not_saved(
    service: Service, visitor: Visitor
) -> None:
    body = {"url": "http://localhost:1/in", "events": ["experiment.launched", "experiment.ended"]}
    path = f"webhooks/{(await service.post('/experiment_webhooks/', body)).json()['id']}/"
    changed = {**fields_of(await look(visitor, path)), "url": "https://other.example/"}
    del changed["experiment.ended"]

    tested = await send(visitor, path, **changed, do="test")

    assert "The test did not arrive at localhost, which is stored: " in tested.text
    assert fields_of(tested) == changed
    assert (await only(service, "/experiment_webhooks/"))["url"] == body["url"]


async def test_settings_of_a_project_change(service: Service, visitor: Visitor) -> None:
    path = "settings/"
    fields = fields_of(await look(visitor, path))
    assert service.token in (await look(visitor, path)).text
    for wrong, field in (
        ({"name": ""}, "name"),
        ({"timezone": "Mars"}, "timezone"),
        ({"c0_key": "plan"}, "c0_value"),
        ({"cuped": "yes", "days": "99"}, "days"),
        ({"attribution": "x"}, "attribution"),
    ):
        refused = await send(visitor, path, **{**fields, **wrong})
        assert (refused.status, f'"#error-{field}"' in refused.response.text) == (400, True), (wrong, refused.text)

    done = await send(
        visitor, path, **{**fields, **ROW, "timezone": "Europe/Amsterdam", "anonymize": "yes", "cuped": "yes"}
    )

    assert done.status == 303, done.text
    project = await service.read("/")
    assert (project["timezone"], project["anonymize_ips"], project["test_account_filters"]) == (
        "Europe/Amsterdam",
        True,
        [CONDITION],
    )
    assert project["default_cuped"] == {"enabled": True, "lookback_days": 14}
    assert (await send(visitor, path, **fields)).status == 409  # it was changed meanwhile


async def test_of_two_forms_that_are_saved_at_once_one_is_told_of_the_other(service: Service, visitor: Visitor) -> None:
    fields = fields_of(await look(visitor, "settings/"))
    names = [f"Shop {number}" for number in range(4)]

    saved = await asyncio.gather(*(send(visitor, "settings/", **{**fields, "name": name}) for name in names))

    assert sorted(page.status for page in saved) == [303, 409, 409, 409]
    [kept] = [name for name, page in zip(names, saved, strict=True) if page.status == 303]
    assert (await service.read("/"))["name"] == kept


async def test_what_a_key_may_not_do_is_neither_offered_nor_done(
    service: Service, visitor: Visitor, database: Database
) -> None:
    async with database.write() as session:
        _, key = await AccountService(session).create_key(service.email, "Some", ["experiment:read"])
    await visitor.sign_in(key)
    menu = (await visitor.look()).response.text

    for path, reads in (("holdouts/", 200), ("cohorts/", 403), ("webhooks/", 403), ("settings/", 403)):
        assert (await look(visitor, path)).status == reads, path
        assert (f'{visitor.path()}{path}"' in menu) is (reads == 200), path
    for path in ("holdouts/new/", "cohorts/new/", "webhooks/new/", "settings/", "flags/new/"):
        assert (await send(visitor, path, name="x", key="x", share="5")).status == 403, path


HOSTILE = ("\x00", "1e999", "-1", "9" * 400, "[" * 2_000, '{"a": NaN}', "a\u2028b", "x" * 20_000)
FIELDS: dict[str, dict[str, str]] = {
    "flags/new/": dict.fromkeys(
        ("key", "name", "rollout", "unit", "payload", "v0_was", "v0_key", "v0_name", "v0_share", "v0_payload"), ""
    ),
    "holdouts/new/": dict.fromkeys(("name", "description", "share"), ""),
    "cohorts/new/": dict.fromkeys(("name", "description", "kind", "match", "json", "c0_was", "c0_json", "c0_value"), "")
    | {"c0_key": "plan", "c0_operator": "regex"},
    "webhooks/new/": dict.fromkeys(("url", "secret", "active"), "") | {"experiment.ended": "yes"},
    "settings/": dict.fromkeys(("name", "timezone", "attribution", "days", "seen", "c0_value", "c99_key"), ""),
}


@pytest.mark.parametrize("path", sorted(FIELDS))
async def test_no_field_causes_a_server_error(visitor: Visitor, path: str) -> None:
    valid = {**FIELDS[path], "name": "A", "key": "a", "share": "5", "url": "https://a.example/", "kind": "criteria"}
    for place, name in enumerate(FIELDS[path]):
        page = await send(visitor, path, **{**valid, name: HOSTILE[place % len(HOSTILE)]})
        assert page.status < 500, name
    for value in HOSTILE:
        page = await send(visitor, path, **dict.fromkeys(FIELDS[path], value))
        assert page.status < 500, value[:20]


@pytest.mark.parametrize(
    ("thing", "made", "changed", "page"),
    [
        (
            "holdout",
            ("/experiment_holdouts/", {"name": "Quiet", "filters": [{"rollout_percentage": 5}]}),
            {"name": "Theirs"},
            "holdouts",
        ),
        ("cohort", ("/cohorts/", {"name": "Buyers", "is_static": True}), {"name": "Theirs"}, "cohorts"),
        (
            "webhook",
            ("/experiment_webhooks/", {"url": "http://localhost:1/"}),
            {"url": "http://localhost:2/"},
            "webhooks",
        ),
    ],
)
async def test_form_that_another_person_was_faster_than_neither_overwrites_nor_deletes(
    service: Service, visitor: Visitor, thing: str, made: tuple[str, Any], changed: Any, page: str
) -> None:
    stored = (await service.post(*made)).json()
    path = f"{page}/{stored['id']}/"
    opened = fields_of(await look(visitor, path))
    assert (await service.patch(f"{made[0]}{stored['id']}/", changed)).status_code == 200

    for mine in (opened, {"seen": opened["seen"], "do": "delete", "sure": "yes"}):
        refused = await send(visitor, path, **mine)
        assert (refused.status, f"This {thing} was changed by another person" in refused.text) == (409, True)

    assert (await service.read(f"{made[0]}{stored['id']}/")).items() >= changed.items()
