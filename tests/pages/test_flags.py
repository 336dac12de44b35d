"""Flags on the pages: their conditions in words, and changes of their rollout."""

import json
from typing import Any

import pytest

from app.accounts.projects.service import AccountService
from app.db.database import Database
from app.pages.flags.wording import describe_entry
from tests.pages.conftest import FormFields, Page, Visitor
from tests.support.service import Service

pytestmark = pytest.mark.one_database

FILTERS: dict[str, Any] = {
    "groups": [
        {
            "properties": [
                {"key": "country", "value": ["NL", "BE"], "operator": "exact", "type": "person"},
                {"key": "age", "value": 18, "operator": "gte", "type": "person"},
            ],
            "rollout_percentage": 25,
        },
        {"properties": [], "rollout_percentage": None, "variant": "b", "sort_key": "kept"},
    ],
    "multivariate": {"variants": [{"key": "a", "rollout_percentage": 50}, {"key": "b", "rollout_percentage": 50}]},
    "payloads": {"a": "7"},
}


async def make_flag(service: Service) -> Any:
    answer = await service.post("/feature_flags/", {"key": "prices", "name": "New prices", "filters": FILTERS})
    assert answer.status_code == 201
    return answer.json()


async def look(visitor: Visitor, flag: Any = None, **query: str) -> Page:
    path = f"{visitor.path()}flags/" + (f"{flag['id']}/" if flag else "")
    return Page(await visitor.browser.get(path, params=query))


async def send(visitor: Visitor, flag: Any, **fields: str) -> Page:
    return Page(await visitor.browser.post(f"{visitor.path()}flags/{flag['id']}/", data=fields))


async def test_flags_are_listed_and_their_conditions_are_said_in_words(service: Service, visitor: Visitor) -> None:
    flag = await make_flag(service)

    listed, page = await look(visitor), await look(visitor, flag)

    assert "prices active New prices a 50.0%, b 50.0% · 2 release conditions" in listed.text
    assert "the person's country is NL or BE and the person's age is at least 18" in page.text
    assert "Everybody , who always get b" in page.text
    assert "No flag is like this" in (await look(visitor, search="nothing")).text
    assert "No flag is like this" in (await look(visitor, active="no")).text


async def test_percentages_change_and_everything_else_stays(service: Service, visitor: Visitor) -> None:
    flag = await make_flag(service)

    done = await send(visitor, flag, rollout0="30", rollout1="", share0="20", share1="80")

    after = (await service.read(f"/feature_flags/{flag['id']}/"))["filters"]
    assert done.status == 303
    assert [group["rollout_percentage"] for group in after["groups"]] == [30, None]
    assert [variant["rollout_percentage"] for variant in after["multivariate"]["variants"]] == [20, 80]
    assert (after["groups"][0]["properties"], after["groups"][1]["sort_key"]) == (
        FILTERS["groups"][0]["properties"],
        "kept",
    )
    assert after["payloads"] == {"a": "7"}


@pytest.mark.parametrize(
    "fields",
    [{"rollout0": "130"}, {"rollout0": "x"}, {"share0": "20", "share1": "20"}, {"share0": "-5", "share1": "105"}],
)
async def test_impossible_percentages_are_refused_and_kept(
    service: Service, visitor: Visitor, fields: dict[str, str]
) -> None:
    flag = await make_flag(service)

    page = await send(visitor, flag, **fields)

    assert page.status == 400
    for value in fields.values():
        assert f'value="{value}"' in page.response.text
    assert (await service.read(f"/feature_flags/{flag['id']}/"))["filters"] == flag["filters"]


async def test_flag_is_switched(service: Service, visitor: Visitor) -> None:
    flag = await make_flag(service)

    for active, expected in (("no", False), ("yes", True)):
        assert (await send(visitor, flag, active=active)).status == 303
        assert (await service.read(f"/feature_flags/{flag['id']}/"))["active"] is expected


async def test_flag_of_a_running_experiment_changes_only_knowingly(service: Service, visitor: Visitor) -> None:
    experiment = await service.create_experiment(end_date=None)
    flag = {"id": experiment["feature_flag"]}

    assert "Used by Checkout button (running)" in (await look(visitor, flag)).text
    assert (await send(visitor, flag, active="no")).status == 409
    assert (await send(visitor, flag, active="no", against="yes")).status == 303
    assert (await service.read(f"/experiments/{experiment['id']}/"))["status"] == "paused"


async def test_scopes_of_flags_hold(service: Service, visitor: Visitor, database: Database) -> None:
    flag = await make_flag(service)
    for scopes, shown, changed in (
        (["experiment:write"], 403, 403),
        (["experiment:read", "feature_flag:read"], 200, 403),
        (["experiment:read", "feature_flag:write"], 200, 303),
    ):
        async with database.write() as session:
            _, key = await AccountService(session).create_key(service.email, "Some", scopes)
        await visitor.sign_in(key)

        page = await look(visitor, flag)
        assert page.status == shown
        assert ("Save the percentages" in page.text) is (changed == 303)
        assert ("/flags/" in (await visitor.look()).response.text) is (shown == 200)
        assert (await send(visitor, flag, active="no")).status == changed


async def test_deleted_and_foreign_flags_are_not_found(service: Service, visitor: Visitor) -> None:
    flag = await make_flag(service)
    await service.patch(f"/feature_flags/{flag['id']}/", {"deleted": True})

    assert (await look(visitor, flag)).status == 404
    assert (await look(visitor, {"id": "x"})).status == 404


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ({"key": "id", "type": "cohort", "value": 3}, "the person is in the cohort `3`"),
        ({"key": "plan", "operator": "is_not_set", "value": "is_not_set"}, "`plan` is not set"),
        (
            {"key": "a", "value": list("abcdefg")},
            "`a` is `a` or `b` or `c` or `d` or `e` or one of 2 more",
        ),
        ({"key": "age", "operator": "between", "value": [1, 9]}, "`age` is between `1` and `9`"),
        ({"key": "7", "type": "flag", "operator": "flag_evaluates_to", "value": True}, "the flag `7` is `true`"),
        ({"key": "a", "value": "b", "negation": True}, "not (`a` is `b`)"),
        ({"key": "a", "operator": "like", "value": "1"}, '`{"key": "a", "operator": "like", "value": "1"}`'),
        ("x", '`"x"`'),
    ],
)
def test_condition_in_words(condition: Any, words: str) -> None:
    assert describe_entry(condition) == words


def fields_of_forms(page: Page) -> list[dict[str, str]]:
    """Return what a browser would send of each form of the editor."""
    found = []
    for text in page.response.text.split('<form method="post" class="editor">')[1:]:
        reader = FormFields()
        reader.feed(text)
        found.append(reader.fields)
    return found


async def open_conditions(visitor: Visitor, flag: Any) -> tuple[Page, dict[str, str]]:
    """Return the editor of a flag, and the fields that a browser would send of its first form."""
    page = Page(await visitor.browser.get(f"{visitor.path()}flags/{flag['id']}/conditions/"))
    return page, fields_of_forms(page)[0]


async def save_conditions(visitor: Visitor, flag: Any, **fields: str) -> Page:
    return Page(await visitor.browser.post(f"{visitor.path()}flags/{flag['id']}/conditions/", data=fields))


async def test_conditions_come_back_from_the_editor_as_they_were(service: Service, visitor: Visitor) -> None:
    person: dict[str, Any] = {"type": "person"}
    properties = [
        {"key": "country", "value": ["NL", "BE"], "operator": "exact", **person},
        {"key": "age", "value": 18, "operator": "gte", **person},
        {"key": "plan", "value": "is_set", "operator": "is_set", **person},
        {"key": "a,b", "value": ["x,y"], "operator": "exact", **person},
        {"key": "age", "value": [1, 9], "operator": "between", **person},
        {"key": "beta", "value": [True], "operator": "exact", "label": "kept", **person},
    ]
    groups = [{"properties": properties, "rollout_percentage": 12.5, "sort_key": "kept"}, *FILTERS["groups"]]
    body = {"key": "prices", "filters": {**FILTERS, "groups": groups}}
    flag = (await service.post("/feature_flags/", body)).json()

    page, fields = await open_conditions(visitor, flag)
    saved = await save_conditions(visitor, flag, **fields)

    assert page.text.count("No fields can say this one.") == 3
    assert saved.status == 303, saved.text
    after = (await service.read(f"/feature_flags/{flag['id']}/"))["filters"]
    assert after == flag["filters"]


async def test_conditions_are_edited_without_a_script(service: Service, visitor: Visitor) -> None:
    flag = await make_flag(service)
    _, fields = await open_conditions(visitor, flag)
    steps = ["add-g", "add-g2c", "remove-g0c1", "remove-g1"]
    for step in steps:
        page = await save_conditions(visitor, flag, **fields, do=step)
        assert page.status == 200
        fields, _ = fields_of_forms(page)
    new = {"g1c0_key": "plan", "g1c0_operator": "icontains", "g1c0_value": "pro", "g1_rollout": "40", "g1_variant": "a"}

    saved = await save_conditions(visitor, flag, **{**fields, **new, "g1_description": "Paying ones"}, do="save")

    assert saved.status == 303, saved.text
    after = (await service.read(f"/feature_flags/{flag['id']}/"))["filters"]
    assert after["groups"] == [
        {"properties": FILTERS["groups"][0]["properties"][:1], "rollout_percentage": 25},
        {
            "properties": [{"key": "plan", "operator": "icontains", "value": "pro", "type": "person"}],
            "rollout_percentage": 40,
            "variant": "a",
            "description": "Paying ones",
        },
    ]
    assert after["payloads"] == {"a": "7"}


async def test_wrong_conditions_are_refused_beside_their_fields(service: Service, visitor: Visitor) -> None:
    flag = await make_flag(service)
    _, fields = await open_conditions(visitor, flag)
    wrong: list[tuple[dict[str, str], str]] = [
        ({"g0_rollout": "half"}, "g0_rollout"),
        ({"g0_rollout": "130"}, "conditions"),
        ({"g0c0_value": ""}, "g0c0_value"),
        ({"g0c0_key": ""}, "g0c0_key"),
        ({"g0c0_operator": "in_cohort", "g0c0_value": "x"}, "g0c0_value"),
        ({"g0c0_operator": "in_cohort", "g0c0_value": "7"}, "conditions"),
        ({"g0c0_operator": "regex", "g0c0_value": "("}, "conditions"),
        ({"g0c0_json": "{"}, "g0c0_json"),
        ({"g0_variant": "gone"}, "conditions"),
        ({"g99_was": "["}, "g99_was"),
        ({"filters": "{", "do": "json"}, "filters"),
        ({"filters": '{"a": 1}', "do": "json"}, "filters"),
        ({"filters": '{"groups": [{"rollout_percentage": 101}]}', "do": "json"}, "filters"),
        ({"seen": "older"}, "form"),
    ]
    for change, field in wrong:
        page = await save_conditions(visitor, flag, **{**fields, "do": "save", **change})
        assert page.status == (409 if field == "form" else 400), change
        assert 'role="alert"' in page.response.text, change
        assert field == "form" or f'id="error-{field}"' in page.response.text or field == "g99_was", change
    assert (await service.read(f"/feature_flags/{flag['id']}/"))["filters"] == flag["filters"]

    kept = {**fields, "do": "json", "filters": '{"groups": []}'}
    assert (await save_conditions(visitor, flag, **kept)).status == 303
    assert (await service.read(f"/feature_flags/{flag['id']}/"))["filters"] == {"groups": []}


@pytest.mark.parametrize("is_paused", [False, True])
async def test_conditions_of_an_experiment_that_has_begun_change_only_knowingly(
    service: Service, visitor: Visitor, is_paused: bool
) -> None:
    experiment = await service.create_experiment(end_date=None)
    if is_paused:
        assert (await service.post(f"/experiments/{experiment['id']}/pause/", {})).status_code == 200
    flag = {"id": experiment["feature_flag"]}
    page, fields = await open_conditions(visitor, flag)

    assert "Checkout button uses this flag" in page.text
    assert (await save_conditions(visitor, flag, **fields)).status == 409
    assert (await save_conditions(visitor, flag, **fields, against="yes")).status == 303
    assert (await send(visitor, flag, active="yes")).status == 409


async def test_refused_form_leaves_the_other_one_as_the_flag_is(service: Service, visitor: Visitor) -> None:
    experiment = await service.create_experiment(end_date=None)
    flag = await service.read(f"/feature_flags/{experiment['feature_flag']}/")
    _, fields = await open_conditions(visitor, flag)
    whole = {"seen": fields["seen"], "filters": json.dumps(flag["filters"]), "do": "json"}

    for sent in (whole, {**whole, "filters": "{", "against": "yes"}, {**fields, "do": "save"}):
        refused = await save_conditions(visitor, flag, **sent)

        assert refused.status in {400, 409}
        for shown, button in zip(fields_of_forms(refused), ("save", "json"), strict=True):
            if shown.get("filters") == "{":
                continue  # the wrong text is kept
            saved = await save_conditions(visitor, flag, **{**shown, "do": button, "against": "yes"})
            assert saved.status == 303, saved.text
            assert (await service.read(f"/feature_flags/{flag['id']}/"))["filters"] == flag["filters"]


@pytest.mark.parametrize(("releases", "conditions"), [(120, 1), (1, 150), (95, 2)])
async def test_no_condition_is_lost_where_there_are_many(
    service: Service, visitor: Visitor, releases: int, conditions: int
) -> None:
    condition = {"key": "plan", "value": ["pro"], "operator": "exact", "type": "person"}
    groups = [{"properties": [condition] * conditions, "rollout_percentage": 1} for _ in range(releases)]
    flag = (await service.post("/feature_flags/", {"key": "many", "filters": {"groups": groups}})).json()

    page, fields = await open_conditions(visitor, flag)
    by_fields = await save_conditions(visitor, flag, seen=fields["seen"], g0_rollout="5", do="save")
    by_json = await save_conditions(visitor, flag, **fields, do="json")

    assert "they are changed as JSON" in page.text
    assert (by_fields.status, by_json.status) == (400, 303)
    assert (await service.read(f"/feature_flags/{flag['id']}/"))["filters"] == flag["filters"]


@pytest.mark.parametrize(
    "holdout",
    [
        {"holdout": {"id": 3, "exclusion_percentage": 5}},
        {"holdout_groups": [{"rollout_percentage": 5, "variant": "holdout-3"}]},
    ],
)
async def test_json_without_the_holdout_removes_it(service: Service, visitor: Visitor, holdout: Any) -> None:
    body = {"key": "kept-out", "filters": {**FILTERS, **holdout}}
    flag = (await service.post("/feature_flags/", body)).json()
    page, _ = await open_conditions(visitor, flag)
    _, whole = fields_of_forms(page)

    assert (await save_conditions(visitor, flag, **whole, do="json")).status == 303
    assert (await service.read(f"/feature_flags/{flag['id']}/"))["filters"] == flag["filters"]
    whole = fields_of_forms((await open_conditions(visitor, flag))[0])[1]
    assert (await save_conditions(visitor, flag, **{**whole, "filters": json.dumps(FILTERS)}, do="json")).status == 303
    after = (await service.read(f"/feature_flags/{flag['id']}/"))["filters"]
    assert not after.pop("holdout", None)
    assert after == FILTERS
