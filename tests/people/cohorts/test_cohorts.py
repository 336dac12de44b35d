import asyncio
import json
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event as sqlalchemy_event

from app.db.database import Database
from app.people.cohorts.dependencies import build_cohorts
from app.people.cohorts.service import CohortService
from tests.accounts.projects.test_isolation import NO_IDS, NO_PROJECT, NOT_FOUND
from tests.people.cohorts.test_cohort_matching import cohort, filters, group, plan
from tests.support.service import Json, Service, event, without_warnings

pytestmark = pytest.mark.one_database

PATHS = [
    ("GET", "/cohorts/{id}/"),
    ("PUT", "/cohorts/{id}/"),
    ("PATCH", "/cohorts/{id}/"),
    ("DELETE", "/cohorts/{id}/"),
]
PRO = filters("OR", group("AND", plan("pro")))


async def create(service: Service, **fields: Any) -> Json:
    response = await service.post("/cohorts/", {"name": "Paying customers", **fields})
    assert response.status_code == 201, response.text
    return response.json()


async def count(service: Service, created: Json) -> int:
    number = (await service.read(f"/cohorts/{created['id']}/"))["count"]
    assert isinstance(number, int)
    return number


async def meet(service: Service, **plans: str | None) -> None:
    """Let persons appear, by distinct id, each with a plan."""
    properties = {name: {"plan": plan} if plan else {} for name, plan in plans.items()}
    await service.capture(*(event("seen", name, properties={"$set": set_}) for name, set_ in properties.items()))


async def person_id(service: Service, distinct_id: str) -> int:
    [person] = (await service.read("/persons/", distinct_id=distinct_id))["results"]
    assert isinstance(person["id"], int)
    return person["id"]


async def test_created_cohort_has_every_field_of_2022(service: Service) -> None:
    groups = [{"properties": [plan("team")]}]

    created = await create(service, name=" Paying ", description="All of them", filters=PRO, groups=groups, count=9)
    ignored = created.pop("warnings")

    me = (await service.client.get("/api/users/@me/", headers={"Authorization": f"Bearer {service.key}"})).json()
    expected = {
        "id": created["id"],
        "name": "Paying",
        "description": "All of them",
        "groups": groups,
        "deleted": False,
        "filters": PRO,
        "is_calculating": False,
        "created_by": {key: me[key] for key in ("id", "uuid", "distinct_id", "first_name", "email")},
        "created_at": created["created_at"],
        "last_calculation": None,
        "errors_calculating": 0,
        "count": None,
        "is_static": False,
    }
    assert list(created.items()) == list(expected.items())
    assert ignored == ["Ignored unknown fields of the body: 'count'."]
    assert await service.read(f"/cohorts/{created['id']}/") == {**created, "count": 0}


async def test_cohort_without_criteria_has_no_members(service: Service) -> None:
    await meet(service, ann="pro")

    created = await create(service)

    assert (created["filters"], created["groups"]) == ({"properties": {}}, [])
    assert await count(service, created) == 0


async def test_dynamic_cohort_follows_what_persons_are_now(service: Service) -> None:
    created = await create(service, filters=PRO)
    await meet(service, ann="pro", bob="free", eve=None)
    assert await count(service, created) == 1

    await meet(service, ann="free", bob="pro", eve="pro")
    assert await count(service, created) == 2

    await service.patch(f"/cohorts/{created['id']}/", {"groups": [{"properties": [plan("free")]}]})
    assert await count(service, created) == 1


async def test_list_follows_who_is_who(service: Service) -> None:
    created = await create(service, is_static=True, distinct_ids=["device-1", "device-1", "device-2", 7, "later"])
    assert created["count"] == 0

    await meet(service, **{"device-1": None, "device-2": None, "other": None})
    assert await count(service, created) == 2

    await service.capture(event("$identify", "ann", properties={"$anon_distinct_id": "device-1"}))
    await service.capture(event("$identify", "ann", properties={"$anon_distinct_id": "device-2"}))
    assert await count(service, created) == 1

    await meet(service, **{"later": None, "7": None})
    assert await count(service, created) == 3


@pytest.mark.each_database
async def test_distinct_ids_are_added_to_a_list(service: Service) -> None:
    await meet(service, ann=None, bob=None, eve=None)
    created = await create(service, is_static=True, distinct_ids=["ann"])
    path = f"/cohorts/{created['id']}/"

    added = await service.patch(path, {"distinct_ids": ["ann", "bob"]})
    renamed = await service.patch(path, {"name": "Friends", "distinct_ids": []})

    assert added.json() == {**created, "count": 2}
    assert renamed.json() == {**created, "count": 2, "name": "Friends"}


async def test_id_is_cut_where_capture_cuts_it(service: Service) -> None:
    await meet(service, **{"x" * 300: None})

    created = await create(service, is_static=True, distinct_ids=["x" * 250])

    assert created["count"] == 1


async def test_long_list_is_taken(service: Service) -> None:
    await meet(service, **{"id-19999": None})

    created = await create(service, is_static=True, distinct_ids=[f"id-{number}" for number in range(20_000)])

    assert created["count"] == 1


async def test_lists_are_counted_in_lists_and_criteria_are_not(service: Service) -> None:
    await meet(service, ann="pro", bob="pro")
    listed = await create(service, is_static=True, distinct_ids=["ann", "bob"])
    dynamic = await create(service, filters=PRO)
    empty = await create(service, is_static=True)

    page = await service.read("/cohorts/")

    assert page == {"count": 3, "next": None, "previous": None, "results": [empty, dynamic, listed]}
    assert [cohort["count"] for cohort in page["results"]] == [0, None, 2]


async def test_cohorts_are_listed_newest_first_in_pages(service: Service) -> None:
    created = [await create(service, name=f"Cohort {number}") for number in range(3)]

    page = await service.read("/cohorts/", limit="2")

    assert page["next"] == f"http://abacus.test{service.project}/cohorts/?limit=2&offset=2"
    assert page["results"] == created[:0:-1]
    assert (await service.read("/cohorts/", limit="2", offset="2"))["results"] == created[:1]


async def test_list_takes_as_many_queries_however_long_it_is(service: Service, database: Database) -> None:
    async def queries() -> int:
        seen: list[object] = []

        def note(*arguments: object) -> None:
            seen.append(arguments)

        engine = database.reading_engine.sync_engine  # the one that lists use
        sqlalchemy_event.listen(engine, "before_cursor_execute", note)
        await service.read("/cohorts/")
        sqlalchemy_event.remove(engine, "before_cursor_execute", note)
        return len(seen)

    await create(service, is_static=True)
    for_one = await queries()
    for _ in range(3):
        await create(service, is_static=True, distinct_ids=["ann"])
        await create(service, filters=PRO)

    assert await queries() == for_one


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "Seen"},
        {"description": "All"},
        {"filters": filters("AND", plan("team"))},
        {"filters": {"properties": {}}},
        {"is_static": False, "distinct_ids": [], "count": 5, "deleted": False},
        {},
    ],
)
async def test_patch_changes_sent_fields_only(service: Service, changes: dict[str, Any]) -> None:
    before = await create(service, filters=PRO)
    path = f"/cohorts/{before['id']}/"

    response = await service.patch(path, changes)

    kept = {key: value for key, value in changes.items() if key in {"name", "description", "filters"}}
    assert (response.status_code, changed := without_warnings(response)) == (200, {**before, **kept})
    assert await service.read(path) == {**changed, "count": 0}


@pytest.mark.each_database
async def test_groups_that_are_sent_alone_take_the_place_of_filters(service: Service) -> None:
    created = await create(service, filters=PRO)
    groups = [{"properties": [plan("team")]}]

    response = await service.patch(f"/cohorts/{created['id']}/", {"groups": groups})

    assert response.json() == {**created, "groups": groups, "filters": {"properties": {}}}


@pytest.mark.parametrize("fields", [{"filters": PRO}, {"is_static": True, "distinct_ids": ["ann"]}])
async def test_whole_cohort_can_be_sent_back(service: Service, fields: dict[str, Any]) -> None:
    created = await create(service, **fields)

    response = await service.request("PUT", f"/cohorts/{created['id']}/", json=created)

    assert (response.status_code, without_warnings(response)) == (200, created)


async def test_replaced_cohort_needs_a_name(service: Service) -> None:
    created = await create(service)

    response = await service.request("PUT", f"/cohorts/{created['id']}/", json={"filters": PRO})

    assert (response.status_code, response.json()["code"], response.json()["attr"]) == (400, "required", "name")


@pytest.mark.parametrize(("method", "body", "status"), [("DELETE", None, 204), ("PATCH", {"deleted": True}, 200)])
async def test_deleted_cohort_is_found_no_more(service: Service, method: str, body: object, status: int) -> None:
    await meet(service, ann="pro")
    gone = await create(service, filters=PRO)
    kept = await create(service, filters=PRO)

    response = await service.request(method, f"/cohorts/{gone['id']}/", json=body)

    assert response.status_code == status
    assert response.content == b"" or response.json() == {**gone, "deleted": True}
    assert (await service.read("/cohorts/"))["results"] == [kept]
    again = [await service.request(verb, path.format(id=gone["id"]), json={}) for verb, path in PATHS]
    assert [(answer.status_code, answer.json()) for answer in again] == [(404, NOT_FOUND)] * len(PATHS)


async def test_cohorts_are_made_of_cohorts(service: Service) -> None:
    await meet(service, ann="pro", bob="pro", eve="free", dan="free")
    listed = await create(service, is_static=True, distinct_ids=["ann", "eve"])
    dynamic = await create(service, filters=PRO)
    both = await create(service, filters=filters("AND", cohort(listed["id"]), cohort(str(dynamic["id"]))))
    either = await create(service, groups=[{"properties": [cohort(each["id"])]} for each in (listed, dynamic)])
    neither = await create(service, filters=filters("AND", cohort(either["id"], negation=True)))

    assert [await count(service, each) for each in (both, either, neither)] == [1, 3, 1]


async def test_cohort_cannot_refer_to_itself(service: Service) -> None:
    first = await create(service, filters=PRO)
    second = await create(service, filters=filters("AND", cohort(first["id"])))
    third = await create(service, groups=[{"properties": [cohort(second["id"])]}])

    responses = [
        await service.patch(f"/cohorts/{first['id']}/", {"filters": filters("OR", plan("pro"), cohort(each["id"]))})
        for each in (first, second, third)
    ]

    refusal = {
        "type": "validation_error",
        "code": "invalid_input",
        "detail": "A cohort cannot refer to itself, neither directly nor through other cohorts",
        "attr": "filters",
    }
    assert [(response.status_code, response.json()) for response in responses] == [(400, refusal)] * 3
    assert (await service.read("/cohorts/"))["results"] == [third, second, first]


@pytest.mark.each_database
async def test_one_of_two_changes_that_close_a_circle_is_refused(service: Service) -> None:
    one, two = await create(service, filters=PRO), await create(service, filters=PRO)

    responses = await asyncio.gather(
        service.patch(f"/cohorts/{one['id']}/", {"filters": filters("AND", cohort(two["id"]))}),
        service.patch(f"/cohorts/{two['id']}/", {"filters": filters("AND", cohort(one["id"]))}),
    )

    assert sorted(response.status_code for response in responses) == [200, 400]


async def test_cohorts_refer_to_each_other_over_few_levels_only(service: Service) -> None:
    below = await create(service, filters=PRO)
    for _ in range(9):
        below = await create(service, filters=filters("AND", cohort(below["id"])))

    response = await service.post("/cohorts/", {"name": "Top", "filters": filters("AND", cohort(below["id"]))})

    assert (response.status_code, response.json()["attr"]) == (400, "filters")
    assert response.json()["detail"] == "Cohorts refer to each other through more than 10 levels"


@pytest.mark.parametrize("reference", [555, "555", 2**31 - 1])
async def test_cohort_that_is_referred_to_has_to_exist(service: Service, neighbor: Service, reference: object) -> None:
    await create(neighbor)

    response = await service.post("/cohorts/", {"name": "Top", "groups": [{"properties": [cohort(reference)]}]})

    body = response.json()
    assert (response.status_code, body["code"], body["attr"]) == (400, "cohort_does_not_exist", "groups")
    assert body["detail"] == f"Cohort with id {reference} does not exist"


async def test_cohort_of_another_project_cannot_be_referred_to(service: Service, neighbor: Service) -> None:
    theirs = await create(neighbor)

    response = await service.post("/cohorts/", {"name": "Top", "filters": filters("AND", cohort(theirs["id"]))})

    assert (response.status_code, response.json()["code"]) == (400, "cohort_does_not_exist")


NULL = "This field may not be null."
NOT_JSON = "Value must be valid JSON."
NOT_LIST = 'Expected a list of items but got type "{}".'
BAD_IDS = "Distinct ids must be a list of texts that are not blank."


@pytest.mark.parametrize(
    ("fields", "attr", "code", "detail"),
    [
        ({"name": None}, "name", "null", NULL),
        ({"name": ""}, "name", "blank", "This field may not be blank."),
        ({"name": "x" * 401}, "name", "max_length", "Ensure this field has no more than 400 characters."),
        ({"description": None}, "description", "null", NULL),
        (
            {"description": "x" * 1001},
            "description",
            "max_length",
            "Ensure this field has no more than 1000 characters.",
        ),
        ({"groups": None}, "groups", "null", NULL),
        ({"groups": {}}, "groups", "not_a_list", NOT_LIST.format("dict")),
        ({"groups": ["a"]}, "groups", "invalid_input", "A group must be an object, got str"),
        ({"groups": [{"properties": [{"key": "\0"}]}]}, "groups", "invalid_input", NOT_JSON),
        ({"groups": [{"action_id": 1, "days": 7}]}, "groups", "invalid_input", None),
        ({"filters": None}, "filters", "null", NULL),
        ({"filters": []}, "filters", "invalid_input", "Expected a dictionary of items."),
        ({"filters": {"a": 1}}, "filters", "invalid_input", "Must contain a 'properties' key with type and values"),
        ({"filters": {"properties": [float("inf")]}}, "filters", "invalid_input", NOT_JSON),
        ({"filters": filters("AND", {"type": "behavioral", "key": "a"})}, "filters", "invalid_input", None),
        ({"filters": filters("AND", plan("(?=a)", operator="regex"))}, "filters", "invalid_input", None),
        (
            {"filters": filters("AND", "{detail} {0}")},
            "filters",
            "invalid_input",
            'A property is an object, got "{detail} {0}"',
        ),
        ({"is_static": "perhaps"}, "is_static", "invalid_input", "Must be a valid boolean."),
        ({"is_static": None}, "is_static", "null", NULL),
        ({"distinct_ids": None}, "distinct_ids", "null", NULL),
        ({"distinct_ids": "ann"}, "distinct_ids", "not_a_list", NOT_LIST.format("str")),
        ({"distinct_ids": [" "]}, "distinct_ids", "invalid_input", BAD_IDS),
        ({"distinct_ids": [None]}, "distinct_ids", "invalid_input", BAD_IDS),
        ({"distinct_ids": [True]}, "distinct_ids", "invalid_input", BAD_IDS),
        ({"distinct_ids": [["ann"]]}, "distinct_ids", "invalid_input", BAD_IDS),
        ({"distinct_ids": ["a\0"]}, "distinct_ids", "invalid_input", NOT_JSON),
        ({"distinct_ids": ["\ud800"]}, "distinct_ids", "invalid_input", NOT_JSON),
        ({"distinct_ids": ["ann"]}, "distinct_ids", "invalid_input", "Only a static cohort takes distinct ids"),
    ],
)
async def test_invalid_field_is_refused_by_name(
    service: Service, fields: dict[str, Any], attr: str, code: str, detail: str | None
) -> None:
    created = await create(service)

    responses = [
        await service.request(
            method,
            path,
            content=json.dumps({"name": "Paying", **fields}),  # httpx would refuse to write some of it
            headers={"Content-Type": "application/json"},
        )
        for method, path in [("POST", "/cohorts/"), ("PATCH", f"/cohorts/{created['id']}/")]
    ]

    for response in responses:
        body = response.json()
        expected = {"type": "validation_error", "code": code, "detail": detail or body["detail"], "attr": attr}
        assert (response.status_code, body) == (400, expected)
    assert (await service.read("/cohorts/"))["results"] == [created]


@pytest.mark.parametrize(
    ("fields", "attr"),
    [
        ({"filters": PRO}, "filters"),
        ({"groups": [{"properties": [plan("pro")]}]}, "groups"),
        ({"is_static": False}, "is_static"),
    ],
)
async def test_list_takes_no_criteria(service: Service, fields: dict[str, Any], attr: str) -> None:
    created = await create(service, is_static=True)

    response = await service.patch(f"/cohorts/{created['id']}/", fields)

    assert (response.status_code, response.json()["attr"]) == (400, attr)
    assert await service.read(f"/cohorts/{created['id']}/") == created


async def test_forms_are_read_too(service: Service) -> None:
    await meet(service, ann=None)
    form = {"name": "Friends", "is_static": "true", "distinct_ids": '["ann"]'}

    response = await service.request("POST", "/cohorts/", data=form)

    assert (response.status_code, response.json()["count"]) == (201, 1)


@pytest.mark.parametrize(("method", "path"), PATHS)
async def test_cohort_of_another_project_does_not_exist(
    service: Service, neighbor: Service, method: str, path: str
) -> None:
    theirs = await create(neighbor, is_static=True)

    response = await service.request(method, path.format(id=theirs["id"]), json={"name": "Mine"})

    assert (response.status_code, response.json()) == (404, NOT_FOUND)
    assert (await service.read("/cohorts/"))["count"] == 0
    assert await neighbor.read(f"/cohorts/{theirs['id']}/") == theirs


@pytest.mark.parametrize(("method", "path"), [("GET", "/cohorts/"), ("POST", "/cohorts/"), *PATHS])
async def test_cohorts_of_another_organization_are_closed(
    service: Service, stranger: Service, method: str, path: str
) -> None:
    theirs = await create(stranger)

    response = await service.client.request(
        method,
        f"{stranger.project}{path.format(id=theirs['id'])}",
        headers={"Authorization": f"Bearer {service.key}"},
        json={"name": "Mine"},
    )

    assert (response.status_code, response.json()) == (404, NO_PROJECT)
    assert (await stranger.read("/cohorts/"))["results"] == [theirs]


@pytest.mark.one_database("postgresql")
@pytest.mark.parametrize("reference", NO_IDS)
async def test_invalid_cohort_id_is_not_found(service: Service, reference: str) -> None:
    await create(service)

    responses = [await service.request(method, path.format(id=reference), json={}) for method, path in PATHS]

    assert [(response.status_code, response.json()) for response in responses] == [(404, NOT_FOUND)] * len(PATHS)


async def test_same_distinct_id_in_two_projects_is_two_persons(service: Service, neighbor: Service) -> None:
    await meet(neighbor, ann="pro")

    assert await count(service, await create(service, is_static=True, distinct_ids=["ann"])) == 0
    assert await count(service, await create(service, filters=PRO)) == 0


@pytest.mark.each_database
async def test_members_and_the_question_about_one_person_agree(
    service: Service, neighbor: Service, database: Database
) -> None:
    await meet(service, ann="pro", bob="pro", eve="free")
    await meet(neighbor, ann="pro")
    listed = (await create(service, is_static=True, distinct_ids=["ann", "eve"]))["id"]
    dynamic = (await create(service, filters=PRO))["id"]
    mixed = (await create(service, filters=filters("AND", cohort(listed), cohort(dynamic, negation=True))))["id"]
    theirs = (await create(neighbor, is_static=True, distinct_ids=["ann"]))["id"]
    ann, bob, eve = [await person_id(service, name) for name in ("ann", "bob", "eve")]
    plans = {ann: "pro", bob: "pro", eve: "free"}
    asked = [listed, dynamic, mixed, theirs, 0, -1, 10**30]

    async with database.snapshot() as session:
        cohorts: CohortService = build_cohorts(session, service.project_id)
        found = await cohorts.members_of(asked)
        one = await cohorts.members(dynamic)
    async with database.read() as session:
        cohorts = build_cohorts(session, service.project_id)
        loaded = await cohorts.load(asked)
        of_each = await cohorts.containing(
            loaded, {person: json.dumps({"plan": plan}) for person, plan in plans.items()}
        )
        overridden = await cohorts.containing(loaded, {eve: '{"plan": "pro", "other": [1.5, null]}'})
        living = await cohorts.find(asked)

    expected = {listed: [ann, eve], dynamic: [ann, bob], mixed: [eve]}
    assert {cohort_id: persons.tolist() for cohort_id, persons in found.items()} == expected
    assert loaded.lost == {theirs, 0, -1, 10**30}
    assert one is not None
    assert {persons.dtype for persons in (one, *found.values())} == {np.dtype(np.int64)}
    assert of_each == {ann: {listed, dynamic}, bob: {dynamic}, eve: {listed, mixed}}
    assert overridden == {eve: {listed, dynamic}}
    assert living.keys() == {listed, dynamic, mixed}
