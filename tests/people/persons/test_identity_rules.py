"""The rules of identity, as sequences of events; a person is written as its distinct ids and properties."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.db.database import Database
from tests.conftest import new_service
from tests.support.examples import examples
from tests.support.service import Service, event

pytestmark = pytest.mark.one_database


def identify(distinct_id: str, anonymous: str, **members: Any) -> dict[str, object]:
    return event("$identify", distinct_id, properties={"$anon_distinct_id": anonymous, **members})


def alias(distinct_id: str, other: str) -> dict[str, object]:
    return event("$create_alias", distinct_id, properties={"alias": other})


def merge_dangerously(distinct_id: str, other: str) -> dict[str, object]:
    return event("$merge_dangerously", distinct_id, properties={"alias": other})


def visit(distinct_id: str, **members: Any) -> dict[str, object]:
    return event("visit", distinct_id, properties=members)


async def persons(service: Service) -> dict[tuple[str, ...], tuple[bool, dict[str, Any]]]:
    """Return whether each person is identified, and its properties, by its distinct ids."""
    return {
        tuple(sorted(one["distinct_ids"])): (
            one["is_identified"],
            {key: value for key, value in one["properties"].items() if key != "$creator_event_uuid"},
        )
        for one in (await service.read("/persons/"))["results"]
    }


@pytest.mark.parametrize(
    ("told", "events", "expected"),
    [
        ("every event makes its person", [visit("ann")], {("ann",): (False, {})}),
        (
            "$set overwrites, $set_once does not",
            [
                visit("ann", **{"$set": {"a": 1}, "$set_once": {"b": 1}}),
                visit("ann", **{"$set": {"a": 2}, "$set_once": {"b": 2}}),
            ],
            {("ann",): (False, {"a": 2, "b": 1})},
        ),
        (
            "$unset removes",
            [visit("ann", **{"$set": {"a": 1, "b": 1}}), visit("ann", **{"$unset": ["a"]})],
            {("ann",): (False, {"b": 1})},
        ),
        ("identify names two unknown ids one person", [identify("ann", "device")], {("ann", "device"): (True, {})}),
        (
            "or adds the new id to the known person",
            [visit("device"), identify("ann", "device")],
            {("ann", "device"): (True, {})},
        ),
        ("or the anonymous id", [visit("ann"), identify("ann", "device")], {("ann", "device"): (True, {})}),
        (
            "or merges two, the identified one's properties win",
            [
                visit("device", **{"$set": {"a": 1, "b": 1}}),
                visit("ann", **{"$set": {"a": 2}}),
                identify("ann", "device"),
            ],
            {("ann", "device"): (True, {"a": 2, "b": 1})},
        ),
        (
            "a person that is identified is not merged away",
            [identify("ann", "device"), visit("bob"), identify("bob", "device")],
            {("ann", "device"): (True, {}), ("bob",): (True, {})},
        ),
        (
            "alias merges by the same rules",
            [visit("ann"), visit("other"), alias("ann", "other")],
            {("ann", "other"): (True, {})},
        ),
        (
            "alias does not merge a person that is identified, and marks the other one",
            [identify("ann", "device"), visit("bob"), alias("bob", "ann")],
            {("ann", "device"): (True, {}), ("bob",): (True, {})},
        ),
        (
            "$merge_dangerously does",
            [
                identify("ann", "device", **{"$set": {"a": 1, "b": 1}}),
                identify("bob", "phone", **{"$set": {"a": 2}}),
                merge_dangerously("bob", "ann"),
            ],
            {("ann", "bob", "device", "phone"): (True, {"a": 2, "b": 1})},
        ),
        (
            "but does not merge by ids that unrelated persons share",
            [visit("ann"), merge_dangerously("ann", "null")],
            {("ann",): (False, {})},
        ),
        (
            "an event that merges may set and unset",
            [
                visit("device", **{"$set": {"a": 1, "b": 1}}),
                visit("ann"),
                identify("ann", "device", **{"$set": {"a": 2}, "$set_once": {"a": 3, "c": 3}, "$unset": ["b"]}),
            ],
            {("ann", "device"): (True, {"a": 2, "c": 3})},
        ),
        (
            "merged persons merge on",
            [visit("a"), visit("b"), identify("b", "a"), visit("c"), alias("c", "d"), identify("b", "e")],
            {("a", "b", "e"): (True, {}), ("c", "d"): (True, {})},
        ),
        ("an id is not merged with itself", [identify("ann", "ann")], {("ann",): (False, {})}),
        (
            "ids that unrelated persons share do not merge",
            [visit("ann"), identify("ann", "undefined")],
            {("ann",): (False, {})},
        ),
        ("in any case", [visit("ann"), alias("ann", "GUEST")], {("ann",): (False, {})}),
        ("blank ids neither", [visit("ann"), alias("ann", "  ")], {("ann",): (False, {})}),
    ],
)
@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one by one"])
async def test_persons_follow_the_rules_of_2022(
    service: Service,
    told: str,
    events: list[dict[str, object]],
    expected: dict[tuple[str, ...], tuple[bool, dict[str, Any]]],
    together: bool,  # a parameter of the test
) -> None:
    for batch in [events] if together else [[one] for one in events]:
        await service.capture(*batch)

    assert await persons(service) == expected, told


IN_ANY_CASE = [
    "anonymous",
    "guest",
    "distinctid",
    "distinct_id",
    "id",
    "not_authenticated",
    "email",
    "undefined",
    "true",
    "false",
]
AS_WRITTEN = ["[object Object]", "NaN", "None", "none", "null", "0", "", " "]


async def test_id_that_unrelated_persons_share_does_not_merge_them(service: Service) -> None:
    shared = [*IN_ANY_CASE, *map(str.upper, IN_ANY_CASE), *AS_WRITTEN]
    names = ["nan", "NULL", "00", "ids", "anonymous 7"]

    await service.capture(visit("ann"), *(alias("ann", one) for one in shared), *(alias("ann", one) for one in names))
    await service.capture(*(identify(one, "device") for one in shared if one.strip()))

    found = await persons(service)
    assert [known for known in found if "ann" in known] == [tuple(sorted(["ann", *names]))]
    assert not [known for known in found if "device" in known]


@pytest.mark.parametrize("early", ["ann", "device"])
async def test_merged_person_is_as_old_as_the_first_event_of_its_parts(service: Service, early: str) -> None:
    first, later = "2022-11-01T10:00:00Z", "2022-11-02T10:00:00Z"
    moments = {name: first if name == early else later for name in ("ann", "device")}

    await service.capture(*(event("visit", name, moment) for name, moment in moments.items()))
    await service.capture(identify("ann", "device"))

    [person] = (await service.read("/persons/"))["results"]
    assert person["created_at"] == first


ids = st.sampled_from(["a", "b", "c", "d"])
stories = st.lists(
    st.one_of(
        st.builds(identify, ids, ids),
        st.builds(alias, ids, ids),
        st.builds(merge_dangerously, ids, ids),
        st.builds(lambda who, number: visit(who, **{"$set": {"x": number}}), ids, st.integers(0, 2)),
        st.builds(lambda who, site: visit(who, **{"$browser": site, "$pathname": site}), ids, st.integers(0, 1)),
        st.builds(lambda who, site: visit(who, **{"$browser": site, "utm_source": site}), ids, st.sampled_from("xy")),
        st.builds(lambda who: visit(who, **{"$browser": "x", "$set": {"x": 1}, "$unset": ["$initial_browser"]}), ids),
        st.builds(lambda who: visit(who, **{"$browser": "x", "$process_person_profile": False}), ids),
        st.builds(visit, ids),
    ),
    max_size=10,
)


@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(story=stories, cuts=st.sets(st.integers(1, 9)))
async def test_batch_boundaries_do_not_change_identities(
    client: Any, database: Database, story: list[dict[str, object]], cuts: set[int]
) -> None:
    whole, cut = await new_service(client, database), await new_service(client, database)
    ends = sorted({*(cut for cut in cuts if cut < len(story)), len(story)})

    if story:
        await whole.capture(*story)
    for start, end in zip([0, *ends], ends, strict=False):
        if story[start:end]:
            await cut.capture(*story[start:end])

    assert await persons(whole) == await persons(cut)
