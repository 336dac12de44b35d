"""What SDKs may send, and what of it is kept."""

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from sqlalchemy import insert, select

from app.common import limits
from app.common.limits import Limit
from app.db.models import Person, PersonDistinctId
from app.people.groups.decoding import groups_of
from tests.limits.cases import NAMES, World, assert_refused, assert_taken, holds
from tests.sdk.lz_encoding import compress
from tests.support.inputs.capture import as_form, as_gzip, as_json, event, payload
from tests.support.inputs.evaluation import ADDRESSES as FLAG_ADDRESSES
from tests.support.inputs.model import JSON, Call, JsonDict, encoded


def padded(text: bytes, size: int) -> bytes:
    """Return JSON of this size: blanks at its end belong to it."""
    return text + b" " * (size - len(text))


def with_size(sent: JsonDict, name: str, size: int) -> JsonDict:
    """Return an event of this size, by a property of this name."""
    rest = len(encoded({**sent, "properties": {**sent["properties"], name: ""}}))
    return {**sent, "properties": {**sent["properties"], name: "x" * (size - rest)}}


@holds("REQUEST_BYTES")
async def request_bytes(world: World) -> None:
    limit = limits.REQUEST_BYTES
    text = payload([event("small")], world.service.token)
    for encode in (as_gzip, as_json):
        assert_taken(await world.send(encode("/batch/", padded(text, limit.value))))

        answer = await world.send(encode("/batch/", padded(text, limit.value + 1)))
        if encode is as_gzip:
            assert_refused(answer, limit)
        assert (answer.status_code, answer.json()["code"]) == (413, "request_too_large")
    assert await world.stored("small") == 2


@holds("LZ_BYTES")
async def lz_bytes(world: World) -> None:
    text = compress(payload([event("small")], world.service.token).decode()).encode()

    def call(size: int) -> Call:
        return Call("POST", "/e/?compression=lz64", padded(text, size), {"Content-Type": "text/plain"})

    assert_taken(await world.send(call(limits.LZ_BYTES.value)))
    assert_refused(await world.send(call(limits.LZ_BYTES.value + 1)), limits.LZ_BYTES)


@holds("EVENTS")
async def events(world: World) -> None:
    limit, token = limits.EVENTS, world.service.token
    assert_refused(await world.send(as_json("/batch/", payload([event("many")] * (limit.value + 1), token))), limit)
    assert await world.stored("many") == 0
    bare = gzip.compress(b"[" + b"{}," * limit.value + b"{}]")
    unknown = await world.send(Call("POST", "/batch/", bare, {"Content-Type": JSON}))
    assert 400 <= unknown.status_code < 500

    assert_taken(await world.send(as_json("/batch/", payload([event("many")] * limit.value, token))))
    assert await world.stored("many") == limits.PAGE_ITEMS.value


@holds("EVENT_VALUES")
async def event_values(world: World) -> None:
    limit, token = limits.EVENT_VALUES, world.service.token
    large = payload([event("values", "ann", {"list": [1] * 100_000})] * 9, token)
    room = limit.value - sum(large.count(mark) for mark in (b",", b"{", b"["))
    for surplus in (0, 1):
        text = large.replace(b'"batch"', b'"more":[' + b"1," * (room + surplus - 2) + b'1],"batch"')
        answer = await world.send(as_json("/batch/", text))
        assert_refused(answer, limit) if surplus else assert_taken(answer)
    assert await world.stored("values") == 9


@holds("EVENT_BYTES")
async def event_bytes(world: World) -> None:
    limit, token = limits.EVENT_BYTES, world.service.token
    for encode in (as_json, as_form):
        sent = [with_size(event("large"), "note", limit.value + surplus) for surplus in (0, 1)]
        assert_taken(await world.send(encode("/batch/", payload([sent[0]], token))))
        assert_refused(await world.send(encode("/batch/", payload([event("other"), sent[1]], token))), limit)
    assert (await world.stored("large"), await world.stored("other")) == (2, 0)


@holds("EVENT_FIELD_BYTES")
async def event_field_bytes(world: World) -> None:
    limit, token = limits.EVENT_FIELD_BYTES, world.service.token
    for name in ("event", "distinct_id", "timestamp"):
        for characters, is_taken in ((limit.value - 2, True), (limit.value + 1, False)):
            sent = {**event("text"), name: "x" * characters}
            answer = await world.send(as_json("/batch/", payload([sent], token)))
            assert_taken(answer) if is_taken else assert_refused(answer, limit)
    for name in ("event", "distinct_id", "uuid", "timestamp", "token"):
        listed = {**event("text"), name: [[]] * limit.value}
        with_token = [] if name == "token" else [payload([listed], token)]  # the first token counts
        for text in (encoded([listed]), *with_token):
            answer = await world.send(as_json("/batch/", text))
            assert 400 <= answer.status_code < 500, name


@holds("PERSON_PROPERTY_BYTES")
async def person_property_bytes(world: World) -> None:
    room = limits.PERSON_PROPERTY_BYTES.value
    for name, size in (("small", 10), ("fits", room - 2_000), ("surplus", 2_000), ("tiny", 10)):
        sent = event(f"sets {name}", "ann", {"$set": {name: "x" * size}})
        assert_taken(await world.send(as_json("/batch/", payload([sent], world.service.token))))

    kept = (await world.person("ann"))["properties"]
    assert {"small", "fits", "tiny"} <= kept.keys()
    assert "surplus" not in kept
    assert len(encoded(kept)) <= room
    assert world.log_names("surplus")
    assert not world.log_names("fits")
    assert await world.stored("sets surplus") == 1


@holds("PERSON_PROPERTY_BYTES")
async def person_property_bytes_of_one_event(world: World) -> None:
    """Reach the limit within a batch, and by properties that a person gets when they are made."""
    room = limits.PERSON_PROPERTY_BYTES.value
    batch = [
        event("a", "bob", {"$set": {"first": "x" * (room // 2)}, "$set_once": {"once": "x" * (room // 4)}}),
        event("b", "bob", {"$set": {"second": "x" * (room // 2)}, "$set_once": {"last": 1}}),
    ]
    assert_taken(await world.send(as_json("/batch/", payload(batch, world.service.token))))

    kept = (await world.person("bob"))["properties"]
    assert {"first", "once", "last"} <= kept.keys()
    assert "second" not in kept
    assert (await world.stored("a"), await world.stored("b")) == (1, 1)


@holds("GROUP_PROPERTY_BYTES")
async def group_property_bytes(world: World) -> None:
    room = limits.GROUP_PROPERTY_BYTES.value
    for name, size in (("small", 10), ("fits", room - 2_000), ("surplus", 2_000), ("tiny", 10)):
        members = {"$group_type": "company", "$group_key": "acme", "$group_set": {name: "x" * size}}
        sent = event("$groupidentify", "ann", members)
        assert_taken(await world.send(as_json("/batch/", payload([sent], world.service.token))))

    [group] = (await world.service.read("/groups/", group_type_index=0))["results"]
    kept = group["group_properties"]
    assert {"small", "fits", "tiny"} <= kept.keys()
    assert "surplus" not in kept
    assert world.log_names("surplus")
    assert await world.stored("$groupidentify") == 4


@holds("PROPERTIES")
async def properties(world: World) -> None:
    limit, token = NAMES["PROPERTIES"].value, world.service.token
    for first, number in ((0, limit - 100), (limit - 100, 200)):
        more = {f"n{place}": place for place in range(first, first + number)}
        members = {"$group_type": "company", "$group_key": "acme", "$group_set": more}
        sent = [event("sets", "ann", {"$set": more}), event("$groupidentify", "bob", members)]
        assert_taken(await world.send(as_json("/batch/", payload(sent, token))))

        person = (await world.person("ann"))["properties"]
        [group] = (await world.service.read("/groups/", group_type_index=0))["results"]
        for kept in (person, group["group_properties"]):
            assert len(kept) <= limit
            assert len(kept) >= min(first + number, limit)
            assert kept["n0"] == 0
    assert any(world.log_names(f"n{place}") for place in range(limit - 1, limit + 100))  # it names the first ones
    assert (await world.stored("sets"), await world.stored("$groupidentify")) == (2, 2)


@holds("CHANGED_PERSON_BYTES")
async def changed_person_bytes(world: World) -> None:
    """Lower the limit, so that 50 persons, or groups, reach it; a few are never too many."""
    token = world.service.token
    size, fitting = 50_000, 50
    note = {"note": "x" * size}

    def of_persons(name: str, count: int, properties: JsonDict) -> list[JsonDict]:
        return [event(name, f"large {number}", {"$set": properties}) for number in range(count)]

    def of_groups(name: str, count: int, properties: JsonDict) -> list[JsonDict]:
        members = {"$group_type": "company", "$group_set": properties}
        return [event("$groupidentify", "ann", {**members, "$group_key": f"{number}"}) for number in range(count)]

    for build in (of_persons, of_groups):
        assert_taken(await world.send(as_json("/batch/", payload(build("made", fitting + 1, note), token))))
        with lowered(NAMES["CHANGED_PERSON_BYTES"], fitting * (size + 500)) as limit:
            below, above = build("below", fitting, {"a": 1}), build("above", fitting + 1, {"a": 2})
            assert_taken(await world.send(as_json("/batch/", payload(below, token))))
            assert_refused(await world.send(as_json("/batch/", payload(above, token))), limit)
    assert (await world.stored("below"), await world.stored("above")) == (fitting, 0)


@contextmanager
def lowered(limit: Limit, value: int) -> Iterator[Limit]:
    before = limit.value
    object.__setattr__(limit, "value", value)
    try:
        yield limit
    finally:
        object.__setattr__(limit, "value", before)


@holds("DISTINCT_IDS")
async def distinct_ids(world: World) -> None:
    limit = limits.DISTINCT_IDS.value
    service = world.service
    await service.capture(event("visit", "ann"), event("visit", "first"), event("visit", "second"))
    async with world.database.write() as session:
        query = select(Person.id).join(PersonDistinctId, PersonDistinctId.person_id == Person.id)
        [ann] = await session.scalars(
            query.where(Person.project_id == service.project_id, PersonDistinctId.distinct_id == "ann")
        )
        known = [f"known {number} {uuid4().hex}" for number in range(limit - 2)]
        rows = [{"project_id": service.project_id, "distinct_id": one, "person_id": ann} for one in known]
        await session.execute(insert(PersonDistinctId), rows)

    for other in ("first", "second", "third"):  # the second is a person, the third is nobody yet
        await service.capture(event("$identify", "ann", {"$anon_distinct_id": other, "$set": {f"by {other}": 1}}))

    of_ann = await world.person("ann")
    assert (await world.person("first"))["id"] == of_ann["id"]
    assert (await world.person("second"))["id"] != of_ann["id"]
    assert len(of_ann["distinct_ids"]) <= limit
    assert {"by first", "by second", "by third"} <= of_ann["properties"].keys()
    assert await world.stored("$identify") == 3
    assert world.log_names("second")


@holds("MERGES")
async def merges(world: World) -> None:
    limit, token = limits.MERGES, world.service.token
    for name, other in (
        ("$identify", "$anon_distinct_id"),
        ("$create_alias", "alias"),
        ("$merge_dangerously", "alias"),
    ):
        joins = [event(name, "ann", {other: f"{name} {number}"}) for number in range(limit.value + 1)]

        assert_refused(await world.send(as_json("/batch/", payload(joins, token))), limit)
        assert await world.stored(name) == 0
        assert_taken(await world.send(as_json("/batch/", payload(joins[:-1], token))))


@holds("FLAGS_REQUEST_BYTES")
async def flags_request_bytes(world: World) -> None:
    limit = limits.FLAGS_REQUEST_BYTES
    text = encoded({"token": world.service.token, "distinct_id": "ann"})
    for path in FLAG_ADDRESSES:
        for encode in (as_gzip, as_json):
            assert_taken(await world.send(encode(path, padded(text, limit.value))))

            answer = await world.send(encode(path, padded(text, limit.value + 1)))
            if encode is as_gzip:
                assert_refused(answer, limit)
            assert (answer.status_code, answer.json()["code"]) == (413, "request_too_large")


@holds("EVENT_GROUPS")
async def event_groups(_world: World) -> None:
    """Read the groups of an event as capture does: a project has too few types of groups to tell by its events."""
    for count in (limits.EVENT_GROUPS.value, limits.EVENT_GROUPS.value + 1):
        groups = {f"type {number}": "key" for number in range(count)}

        assert len(groups_of(json.dumps({"$groups": groups}))) == limits.EVENT_GROUPS.value
