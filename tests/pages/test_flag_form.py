"""The form that creates flags and changes what they are: it sends what a client of the API would send."""

from typing import Any

import pytest

from tests.pages.conftest import FormFields, Page, Visitor
from tests.pages.test_forms import FILLED, submit
from tests.support.service import Service

pytestmark = pytest.mark.one_database

SPLIT = {"v0_key": "a", "v0_share": "40", "v0_payload": '{"color": "green"}', "v1_key": "b", "v1_share": "60"}


async def send(visitor: Visitor, path: str, **fields: str) -> Page:
    return Page(await visitor.browser.post(f"{visitor.path()}flags/{path}", data=fields))


async def shown(visitor: Visitor, flag: Any) -> dict[str, str]:
    """Return what a browser sends of the form of a flag."""
    page = Page(await visitor.browser.get(f"{visitor.path()}flags/{flag['id']}/edit/"))
    assert page.status == 200, page.text
    reader = FormFields()
    reader.feed(page.response.text)
    return reader.fields


async def made(service: Service, page: Page) -> Any:
    assert page.status == 303, page.text
    flag_id = page.response.headers["Location"].partition("/flags/")[2].partition("/")[0]
    return await service.read(f"/feature_flags/{flag_id}/")


async def test_form_creates_the_flag_that_the_api_would(service: Service, visitor: Visitor) -> None:
    simple = {"key": "banner", "name": "A banner", "rollout": "12.5", "payload": '"blue"', "active": "yes"}

    flag = await made(service, await send(visitor, "new/", **simple))
    split = await made(service, await send(visitor, "new/", key="prices", rollout="100", continuity="yes", **SPLIT))

    assert flag["filters"] == {
        "groups": [{"properties": [], "rollout_percentage": 12.5}],
        "payloads": {"true": '"blue"'},
    }
    assert (flag["key"], flag["name"], flag["active"], flag["ensure_experience_continuity"]) == (
        "banner",
        "A banner",
        True,
        False,
    )
    variants = [{"key": "a", "rollout_percentage": 40}, {"key": "b", "rollout_percentage": 60}]
    assert split["filters"] == {
        "groups": [{"properties": [], "rollout_percentage": 100}],
        "multivariate": {"variants": variants},
        "payloads": {"a": '{"color": "green"}'},
    }
    assert (split["active"], split["ensure_experience_continuity"]) == (False, True)
    assert "New flag" in Page(await visitor.browser.get(f"{visitor.path()}flags/")).text


async def test_form_offers_the_groups_of_the_project(service: Service, visitor: Visitor) -> None:
    named = {"$group_type": "company", "$group_key": "acme"}
    await service.capture({"event": "$groupidentify", "distinct_id": "ann", "properties": named})
    page = Page(await visitor.browser.get(f"{visitor.path()}flags/new/"))

    flag = await made(service, await send(visitor, "new/", key="desks", unit="0"))

    assert "companies" in page.text
    assert flag["filters"]["aggregation_group_type_index"] == 0
    code = Page(await visitor.browser.get(f"{visitor.path()}flags/{flag['id']}/")).text
    assert 'posthog.group("company", "the company\'s id");' in code
    assert "groups={'company': \"the company's id\"}" in code


WRONG: list[tuple[dict[str, str], str]] = [
    ({"key": ""}, "key"),
    ({"key": "two words"}, "key"),
    ({"key": "taken"}, "key"),
    ({"key": "x" * 401}, "key"),
    ({"rollout": "half"}, "rollout"),
    ({"rollout": "130"}, "rollout"),
    ({"v1_share": "70"}, "variants"),
    ({"v1_share": ""}, "v1_share"),
    ({"v1_share": "-5", "v0_share": "105"}, "v1_share"),
    ({"v1_key": ""}, "v1_key"),
    ({"v1_key": "a"}, "variants"),
    ({"v0_payload": "{"}, "variants"),
    ({"v0_was": "["}, "v0_was"),
    ({"v0_was": '{"rollout_percentage": 1' + "0" * 400 + "}", "v0_share": ""}, "v0_share"),
    ({"unit": "x"}, "unit"),
]


async def test_what_is_wrong_is_said_beside_the_field(service: Service, visitor: Visitor) -> None:
    assert (await service.post("/feature_flags/", {"key": "taken"})).status_code == 201
    for change, field in WRONG:
        page = await send(visitor, "new/", **{"key": "prices", **SPLIT, **change})
        assert page.status == 400, change
        assert f'"#error-{field}"' in page.response.text, (change, page.text)
    assert [one["key"] for one in (await service.read("/feature_flags/"))["results"]] == ["taken"]


async def test_variants_are_added_renamed_and_removed_without_a_script(service: Service, visitor: Visitor) -> None:
    flag = await made(service, await send(visitor, "new/", key="prices", **SPLIT))
    path = f"{flag['id']}/edit/"
    for step in ("add-v", "remove-v0"):
        page = await send(visitor, path, **await shown(visitor, flag), do=step)
        assert page.status == 200
    reader = FormFields()
    reader.feed(page.response.text)
    kept = {**reader.fields, "v1_key": "c", "v1_name": "Cheap", "v1_share": "40", "v0_key": "better", "do": "save"}

    changed = await made(service, await send(visitor, path, **kept))

    assert changed["filters"]["multivariate"]["variants"] == [
        {"key": "better", "rollout_percentage": 60},
        {"key": "c", "name": "Cheap", "rollout_percentage": 40},
    ]
    assert changed["filters"]["payloads"] == {}
    without = {name: text for name, text in (await shown(visitor, changed)).items() if not name.startswith("v")}
    simple = await made(service, await send(visitor, path, **{**without, "payload": "7"}))
    assert (simple["filters"]["multivariate"], simple["filters"]["payloads"]) == (None, {"true": "7"})


@pytest.mark.parametrize("is_paused", [False, True])
async def test_flag_of_an_experiment_that_has_begun_changes_and_goes_only_knowingly(
    service: Service, visitor: Visitor, is_paused: bool
) -> None:
    experiment = await service.create_experiment(end_date=None)
    if is_paused:
        assert (await service.post(f"/experiments/{experiment['id']}/pause/", {})).status_code == 200
    flag = {"id": experiment["feature_flag"]}
    fields = await shown(visitor, flag)
    question = Page(await visitor.browser.get(f"{visitor.path()}flags/{flag['id']}/delete/"))
    seen = {"seen": fields["seen"], "sure": "yes"}

    assert (await send(visitor, f"{flag['id']}/edit/", **fields)).status == 409
    assert "An experiment that has begun uses this flag" in question.text
    assert (await send(visitor, f"{flag['id']}/delete/", **seen)).status == 409
    assert not (await service.read(f"/feature_flags/{flag['id']}/"))["deleted"]
    renamed = await send(visitor, f"{flag['id']}/edit/", **{**fields, "name": "Mine"}, against="yes")
    assert renamed.status == 303
    for path in ("edit", "delete"):  # neither overwrites nor deletes what another person changed
        stale = await send(visitor, f"{flag['id']}/{path}/", **fields, sure="yes", against="yes")
        assert (stale.status, "changed by another person" in stale.text) == (409, True)
    seen["seen"] = (await shown(visitor, flag))["seen"]
    assert (await send(visitor, f"{flag['id']}/delete/", **seen, against="yes")).status == 303
    assert (await service.read(f"/feature_flags/{flag['id']}/"))["deleted"]


@pytest.mark.parametrize(
    ("chosen", "said"),
    [({"c0_key": "plan", "c0_value": "pro"}, "say who takes part"), ({"unit": "0"}, "does not assign these")],
)
async def test_flag_that_exists_is_not_changed_by_what_a_form_says_of_who_takes_part(
    service: Service, visitor: Visitor, chosen: dict[str, str], said: str
) -> None:
    named = {"$group_type": "company", "$group_key": "acme"}
    await service.capture({"event": "$groupidentify", "distinct_id": "ann", "properties": named})
    split = [{"key": key, "rollout_percentage": 50} for key in ("control", "test")]
    filters = {"groups": [{"properties": [], "rollout_percentage": 30}], "multivariate": {"variants": split}}
    flag = (await service.post("/feature_flags/", {"key": FILLED["flag_key"], "filters": filters})).json()

    page = await submit(visitor, {**FILLED, "use_existing": "yes", **chosen})

    assert (page.status, said in page.text) == (400, True), page.text
    assert (await service.read(f"/feature_flags/{flag['id']}/"))["filters"] == filters
    assert (await service.read("/experiments/"))["count"] == 0
