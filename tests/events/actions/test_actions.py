import asyncio
import json
from typing import Any

import pytest
from sqlalchemy import event as sqlalchemy_event

from app.db.database import Database
from app.events.actions.repository import ActionRepository
from app.events.actions.service import ActionService
from tests.accounts.projects.test_isolation import NO_IDS, NO_PROJECT, NOT_FOUND
from tests.support.service import Json, Service, without_warnings

pytestmark = pytest.mark.one_database

STEP: dict[str, Any] = {
    "id": None,
    "event": None,
    "tag_name": None,
    "text": None,
    "text_matching": None,
    "href": None,
    "href_matching": None,
    "selector": None,
    "url": None,
    "name": None,
    "url_matching": "contains",
    "properties": [],
}
PATHS = [
    ("GET", "/actions/{id}/"),
    ("PUT", "/actions/{id}/"),
    ("PATCH", "/actions/{id}/"),
    ("DELETE", "/actions/{id}/"),
]


async def create(service: Service, **fields: Any) -> Json:
    response = await service.post("/actions/", {"name": "Checkout seen", **fields})
    assert response.status_code == 201, response.text
    return response.json()


async def test_created_action_has_every_field_of_2022(service: Service) -> None:
    step = {
        "id": 17,
        "event": "$pageview",
        "url": "/checkout",
        "url_matching": "regex",
        "properties": [{"key": "plan", "value": ["pro"]}],
        "isNew": True,
        "color": "red",
    }

    action = await create(service, name=" Checkout ", description="All of it", steps=[step, {}], post_to_slack=True)
    ignored = action.pop("warnings")

    me = (await service.client.get("/api/users/@me/", headers={"Authorization": f"Bearer {service.key}"})).json()
    shown = {key: step.get(key, default) for key, default in STEP.items()}
    expected = {
        "id": action["id"],
        "name": "Checkout",
        "description": "All of it",
        "tags": [],
        "post_to_slack": False,
        "slack_message_format": "",
        "steps": [{**shown, "id": "17"}, STEP],
        "created_at": action["created_at"],
        "created_by": {key: me[key] for key in ("id", "uuid", "distinct_id", "first_name", "email")},
        "deleted": False,
        "is_calculating": False,
        "last_calculated_at": action["created_at"],
        "team_id": service.project_id,
        "is_action": True,
    }
    assert list(action.items()) == list(expected.items())
    assert ignored == ["Ignored unknown fields of the body: 'post_to_slack'."]
    assert await service.read(f"/actions/{action['id']}/") == action


async def test_action_needs_only_a_name(service: Service) -> None:
    action = await create(service)

    assert (action["description"], action["steps"]) == ("", [])


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "Seen"},
        {"description": "All of it"},
        {"steps": [{**STEP, "event": "a"}, {**STEP, "event": "b"}]},
        {"steps": []},
        {"deleted": False, "id": 9, "team_id": 9, "is_action": False},
        {},
    ],
)
async def test_patch_changes_sent_fields_only(service: Service, changes: dict[str, Any]) -> None:
    before = await create(service, steps=[{"event": "$pageview"}])
    path = f"/actions/{before['id']}/"

    response = await service.patch(path, changes)

    kept = {key: value for key, value in changes.items() if key in {"name", "description", "steps"}}
    assert (response.status_code, changed := without_warnings(response)) == (200, {**before, **kept})
    assert await service.read(path) == changed


async def test_whole_action_can_be_sent_back(service: Service) -> None:
    action = await create(service, steps=[{"event": "$autocapture", "selector": ".buy", "text": "Buy"}])

    response = await service.request("PUT", f"/actions/{action['id']}/", json=action)

    assert (response.status_code, without_warnings(response)) == (200, action)


async def test_replaced_action_needs_a_name(service: Service) -> None:
    action = await create(service)

    response = await service.request("PUT", f"/actions/{action['id']}/", json={"steps": []})

    assert (response.status_code, response.json()["code"], response.json()["attr"]) == (400, "required", "name")


@pytest.mark.parametrize(("method", "body", "status"), [("DELETE", None, 204), ("PATCH", {"deleted": True}, 200)])
async def test_deleted_action_is_found_no_more(service: Service, method: str, body: object, status: int) -> None:
    kept, gone = await create(service), await create(service)

    response = await service.request(method, f"/actions/{gone['id']}/", json=body)

    assert response.status_code == status
    assert response.content == b"" or response.json() == {**gone, "deleted": True}
    assert [action["id"] for action in (await service.read("/actions/"))["results"]] == [kept["id"]]
    again = [await service.request(verb, path.format(id=gone["id"]), json={}) for verb, path in PATHS]
    assert [(answer.status_code, answer.json()) for answer in again] == [(404, NOT_FOUND)] * len(PATHS)


async def test_actions_are_listed_newest_first_in_pages(service: Service) -> None:
    created = [await create(service, name=f"Action {number}") for number in range(3)]

    page = await service.read("/actions/", limit="2")

    assert page == {
        "count": 3,
        "next": f"http://abacus.test{service.project}/actions/?limit=2&offset=2",
        "previous": None,
        "results": created[:0:-1],
    }
    assert (await service.read("/actions/", limit="2", offset="2"))["results"] == created[:1]


async def test_list_takes_as_many_queries_however_long_it_is(service: Service, database: Database) -> None:
    async def queries() -> int:
        seen: list[object] = []

        def count(*arguments: object) -> None:
            seen.append(arguments)

        engine = database.reading_engine.sync_engine  # the one that lists use
        sqlalchemy_event.listen(engine, "before_cursor_execute", count)
        await service.read("/actions/")
        sqlalchemy_event.remove(engine, "before_cursor_execute", count)
        return len(seen)

    await create(service)
    for_one = await queries()
    for _ in range(3):
        await create(service)

    assert await queries() == for_one


NOT_LIST = 'Expected a list of items but got type "{}".'
NOT_OBJECT = "Invalid data. Expected a dictionary, but got {}."
TOO_LONG = "Ensure this field has no more than {} characters."
NOT_TEXT = "Not a valid string."
NOT_JSON = "Value must be valid JSON."


@pytest.mark.parametrize(
    ("fields", "attr", "code", "detail"),
    [
        ({"name": None}, "name", "null", "This field may not be null."),
        ({"name": " "}, "name", "blank", "This field may not be blank."),
        ({"name": "x" * 401}, "name", "max_length", TOO_LONG.format(400)),
        ({"name": "a\0b"}, "name", "null_characters_not_allowed", "Null characters are not allowed."),
        ({"name": []}, "name", "invalid_input", NOT_TEXT),
        ({"description": None}, "description", "null", "This field may not be null."),
        ({"description": "\ud800"}, "description", "invalid_input", NOT_TEXT),
        ({"description": "x" * 10_001}, "description", "max_length", TOO_LONG.format(10_000)),
        ({"steps": None}, "steps", "null", "This field may not be null."),
        ({"steps": {}}, "steps", "not_a_list", NOT_LIST.format("dict")),
        ({"steps": "[]"}, "steps", "not_a_list", NOT_LIST.format("str")),
        ({"steps": ["a"]}, "steps__0", "invalid_input", NOT_OBJECT.format("str")),
        ({"steps": [{}, None]}, "steps__1", "invalid_input", NOT_OBJECT.format("NoneType")),
        ({"steps": [{}] * 101}, "steps", "too_many_steps", "An action may have at most 100 steps."),
        ({"steps": [{"event": "a\0"}]}, "steps", "invalid_input", NOT_JSON),
        ({"steps": [{"event": "\udfff"}]}, "steps", "invalid_input", NOT_JSON),
        ({"steps": [{"properties": [float("nan")]}]}, "steps", "invalid_input", NOT_JSON),
        ({"steps": [{"event": True}]}, "steps__0__event", "invalid_input", NOT_TEXT),
        ({"steps": [{"event": ["a"]}]}, "steps__0__event", "invalid_input", NOT_TEXT),
        ({"steps": [{"event": "x" * 401}]}, "steps__0__event", "max_length", TOO_LONG.format(400)),
        ({"steps": [{"url": "x" * 401}]}, "steps__0__url", "max_length", TOO_LONG.format(400)),
        (
            {"steps": [{"url_matching": "fuzzy"}]},
            "steps__0__url_matching",
            "invalid_choice",
            '"fuzzy" is not a valid choice.',
        ),
        ({"steps": [{"url_matching": {"a": 1}}]}, "steps__0__url_matching", "invalid_choice", None),
        ({"steps": [{"url": "(", "url_matching": "regex"}]}, "steps__0__url", "invalid_input", None),
        ({"steps": [{"url": "(?=a)", "url_matching": "regex"}]}, "steps__0__url", "invalid_input", None),
        ({"steps": [{"url": "{detail}(", "url_matching": "regex"}]}, "steps__0__url", "invalid_input", None),
        ({"steps": [{"text": "(", "text_matching": "regex"}]}, "steps__0__text", "invalid_input", None),
        ({"steps": [{"href": "(", "href_matching": "regex"}]}, "steps__0__href", "invalid_input", None),
        ({"steps": [{"properties": "[]"}]}, "steps__0__properties", "invalid_input", "Properties are unparsable!"),
        ({"steps": [{"properties": 3}]}, "steps__0__properties", "invalid_input", "Properties are unparsable!"),
        (
            {"steps": [{"properties": {"type": "AND", "values": [{"type": "OR", "values": []}, {"key": "a"}]}}]},
            "steps__0__properties",
            "invalid_input",
            "Property list cannot contain both PropertyGroup and Property objects",
        ),
        (
            {"steps": [{"properties": [{"key": "a", "value": "(", "operator": "regex"}]}]},
            "steps__0__properties",
            "invalid_input",
            None,
        ),
    ],
)
async def test_invalid_field_is_refused_by_name(
    service: Service, fields: dict[str, Any], attr: str, code: str, detail: str | None
) -> None:
    action = await create(service)

    responses = [
        await service.request(method, path, **sent({"name": "Checkout", **fields}))
        for method, path in [("POST", "/actions/"), ("PATCH", f"/actions/{action['id']}/")]
    ]

    for response in responses:
        body = response.json()
        expected = {"type": "validation_error", "code": code, "detail": detail or body["detail"], "attr": attr}
        assert (response.status_code, body) == (400, expected)
    assert (await service.read("/actions/"))["results"] == [action]


def sent(body: object) -> dict[str, Any]:
    """Return a body with what httpx would refuse to write: NaN and halves of surrogate pairs."""
    return {"content": json.dumps(body), "headers": {"Content-Type": "application/json"}}


@pytest.mark.parametrize(
    "step",
    [
        {"event": None, "url": None, "properties": None, "url_matching": None, "text_matching": ""},
        {"event": 5, "url": "(", "selector": "x" * 5000, "url_matching": "contains"},
        {"properties": [{"key": "a", "value": 10**400}, {"key": "id", "type": "cohort", "value": 1}]},
        {"properties": {"plan": "pro", "age__gt": 3}},
        {"properties": [{"key": "text", "value": "x", "type": "element", "operator": "regex"}]},
    ],
)
async def test_odd_steps_are_kept_and_break_nothing(service: Service, step: dict[str, Any]) -> None:
    action = await create(service, steps=[step])

    assert await service.read(f"/actions/{action['id']}/") == action
    assert action["steps"][0].keys() == STEP.keys()


async def test_forms_are_read_too(service: Service) -> None:
    form = {"name": "Checkout", "steps": '[{"event": "$pageview"}]'}

    response = await service.request("POST", "/actions/", data=form)

    assert (response.status_code, response.json()["steps"]) == (201, [{**STEP, "event": "$pageview"}])


@pytest.mark.parametrize(("method", "path"), PATHS)
async def test_action_of_another_project_does_not_exist(
    service: Service,
    neighbor: Service,
    method: str,
    path: str,
) -> None:
    theirs = await create(neighbor)

    response = await service.request(method, path.format(id=theirs["id"]), json={"name": "Mine"})

    assert (response.status_code, response.json()) == (404, NOT_FOUND)
    assert (await service.read("/actions/"))["count"] == 0
    assert await neighbor.read(f"/actions/{theirs['id']}/") == theirs


@pytest.mark.parametrize(("method", "path"), [("GET", "/actions/"), ("POST", "/actions/"), *PATHS])
async def test_actions_of_another_organization_are_closed(
    service: Service,
    stranger: Service,
    method: str,
    path: str,
) -> None:
    theirs = await create(stranger)

    response = await service.client.request(
        method,
        f"{stranger.project}{path.format(id=theirs['id'])}",
        headers={"Authorization": f"Bearer {service.key}"},
        json={"name": "Mine"},
    )

    assert (response.status_code, response.json()) == (404, NO_PROJECT)
    assert (await stranger.read("/actions/"))["results"] == [theirs]


@pytest.mark.one_database("postgresql")
@pytest.mark.parametrize("reference", NO_IDS)
async def test_invalid_action_id_is_not_found(service: Service, reference: str) -> None:
    await create(service)

    responses = [await service.request(method, path.format(id=reference), json={}) for method, path in PATHS]

    assert [(response.status_code, response.json()) for response in responses] == [(404, NOT_FOUND)] * len(PATHS)


@pytest.mark.each_database
async def test_changes_at_the_same_time_lose_nothing(service: Service) -> None:
    action = await create(service)
    path = f"/actions/{action['id']}/"

    responses = await asyncio.gather(
        service.patch(path, {"name": "Seen"}), service.patch(path, {"description": "All of it"})
    )

    assert [response.status_code for response in responses] == [200, 200]
    assert await service.read(path) == {**action, "name": "Seen", "description": "All of it"}


@pytest.mark.each_database
async def test_metrics_find_living_actions_of_their_project_by_id(
    service: Service,
    neighbor: Service,
    database: Database,
) -> None:
    kept, gone, theirs = await create(service), await create(service), await create(neighbor)
    await service.delete(f"/actions/{gone['id']}/")

    async with database.read() as session:
        actions = ActionService(ActionRepository(session, service.project_id))
        found = await actions.by_ids([kept["id"], gone["id"], theirs["id"], 0, -1, 10**30])

    assert found.keys() == {kept["id"]}
