"""Requests that once stopped the service, or grew it, each as a function that sends them and returns the statuses.

``benchmarks.limits`` sends them and measures what others notice.
"""

import asyncio
import base64
import contextlib
import gzip
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from tests.support.inputs import documents as docs
from tests.support.inputs.capture import EVENTS, as_gzip, event, payload
from tests.support.inputs.model import JSON, JsonDict, Sender, encoded

MIB = 1024 * 1024
BACKGROUND_SECONDS = 15  # longer than the task that counts ahead sleeps


@dataclass(frozen=True)
class Attacker:
    """A caller with a project; what a function sends without the key or the token, anybody could send."""

    http: httpx.AsyncClient
    port: int
    project_id: int
    token: str
    key: str

    async def member(self, method: str, path: str, body: object | None = None) -> httpx.Response:
        content = None if body is None else encoded(body)
        return await self.raw_member(method, path, content)

    async def raw_member(self, method: str, path: str, content: bytes | None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": JSON}
        return await self.http.request(
            method, f"/api/projects/{self.project_id}{path}", content=content, headers=headers
        )

    async def page(self, experiment: object) -> int:
        if "abacus_session" not in self.http.cookies:
            await self.http.post("/experiments/sign-in/", data={"key": self.key})
        return (await self.http.get(f"/experiments/{self.project_id}/{experiment}/")).status_code

    async def capture(self, events: Sequence[JsonDict]) -> int:
        return await self.compressed(payload(list(events), self.token))

    async def compressed(self, text: bytes) -> int:
        call = as_gzip("/batch/", text)
        return (await self.http.request(call.method, call.path, content=call.body, headers=call.headers)).status_code

    async def flags(self) -> int:
        body = {"token": self.token, "distinct_id": "ann", "person_properties": {"k0": "x" * 100}}
        return (await self.http.post("/flags/?v=2", json=body)).status_code

    async def create(self, path: str, body: JsonDict) -> tuple[int, Any]:
        """Return the status, and the id of what was made, or None."""
        response = await self.member("POST", path, body)
        return response.status_code, response.json().get("id") if response.status_code == 201 else None


Send = Callable[[Attacker], Awaitable[list[int]]]


@dataclass(frozen=True)
class Attack:
    row: str
    name: str
    sender: Sender
    send: Send
    prepare: Send | None = None  # what is sent before, unmeasured


def _bomb(text: bytes, *, at_once: int = 1) -> Send:
    compressed = gzip.compress(text, 9)

    async def send(attacker: Attacker) -> list[int]:
        headers = {"Content-Encoding": "gzip", "Content-Type": JSON}
        asked = (attacker.http.post("/batch/", content=compressed, headers=headers) for _ in range(at_once))
        return [answer.status_code for answer in await asyncio.gather(*asked)]

    return send


def _events(way: str, count: int) -> Send:
    async def send(attacker: Attacker) -> list[int]:
        return [await attacker.capture(EVENTS[way].build("attack", count))]

    return send


def _padded(size: int, name: str = "big") -> JsonDict:
    return event(name, f"person of {name}", {"$feature/attack": "test", "note": "x" * size})


def _large_events(size: int) -> Send:
    async def send(attacker: Attacker) -> list[int]:
        statuses = [await attacker.capture([_padded(size)]) for _ in range(40)]
        filters = docs.trend() | {"events": [{"id": "big", "order": 0, "type": "events"}]}
        made, experiment = await attacker.create(
            "/experiments/",
            docs.experiment("attack", filters=filters, start_date="2024-01-01T00:00:00Z", end_date=None),
        )
        statuses += [made, (await attacker.member("GET", f"/experiments/{experiment}/results/")).status_code]
        return [*statuses, (await attacker.member("GET", "/events/?limit=100")).status_code]

    return send


def _different(count: int, interval: str) -> list[JsonDict]:
    return [
        {
            "name": f"m{number}",
            "filters": docs.trend(interval=interval) | {"events": [{"id": f"e{number}", "order": 0}]},
        }
        for number in range(count)
    ]


def _metrics(count: int, interval: str, start: str, reads: str = "") -> Send:
    """Create an experiment with secondary metrics; read it, or give the task that counts ahead the time to."""

    async def send(attacker: Attacker) -> list[int]:
        body = docs.experiment("attack", start_date=start, secondary_metrics=_different(count, interval), end_date=None)
        made, experiment = await attacker.create("/experiments/", body)
        if not reads:
            await asyncio.sleep(BACKGROUND_SECONDS)
            return [made]
        if reads == "page":
            return [made, await attacker.page(experiment)]
        return [made, (await attacker.member("GET", f"/experiments/{experiment}/{reads}/")).status_code]

    return send


def _flag(*groups: JsonDict) -> Send:
    async def send(attacker: Attacker) -> list[int]:
        made, _ = await attacker.create("/feature_flags/", docs.flag("attack", *groups))
        return [made, await attacker.flags()]

    return send


async def _grow_a_person(attacker: Attacker) -> list[int]:
    sets = [{f"k{place}": "x" * 10 * MIB} for place in range(8)]
    statuses = [await attacker.capture([event("$set", "ann", {"$set": properties})]) for properties in sets]
    return [*statuses, await attacker.capture([event("$set", "ann", {"$set": {"a": 1}})])]


async def _grow_a_group(attacker: Attacker) -> list[int]:
    def identify(properties: JsonDict) -> JsonDict:
        return event("$groupidentify", "a", {"$group_type": "t", "$group_key": "k", "$group_set": properties})

    statuses = [await attacker.capture([identify({f"k{place}": "x" * 10 * MIB})]) for place in range(8)]
    return [*statuses, await attacker.capture([identify({"a": 1})])]


async def _join_ids(attacker: Attacker) -> list[int]:
    """Give a person 10,000 distinct ids, in requests as large as they may be."""
    statuses = []
    for batch in range(10):
        ids = range(batch * 1_000, batch * 1_000 + 1_000)
        joins = [event("$identify", "ann", {"$anon_distinct_id": f"a{number}"}) for number in ids]
        statuses.append(await attacker.capture(joins))
    return statuses


async def _merge_back_and_forth(attacker: Attacker) -> list[int]:
    merges = [event("$merge_dangerously", f"b{number}", {"alias": "ann"}) for number in range(5)]
    return [await attacker.capture([merge]) for merge in merges]


async def _key_in_a_large_body(attacker: Attacker) -> list[int]:
    body = b'{"personal_api_key":"x","a":[' + b"[]," * 6_900_000 + b"[]]}"
    headers = {"Content-Type": JSON}
    path = f"/api/projects/{attacker.project_id}/experiments/"
    return [(await attacker.http.post(path, content=body, headers=headers)).status_code]


async def _large_filters(attacker: Attacker) -> list[int]:
    body = encoded(docs.experiment("attack", filters=docs.trend(a=[[]] * 6_000_000)))
    made = await attacker.raw_member("POST", "/experiments/", body)
    return [made.status_code, (await attacker.member("GET", "/experiments/")).status_code]


async def _make_flags(attacker: Attacker) -> list[int]:
    made = [docs.flag(f"flag-{number}", {"properties": docs.conditions(2)}) for number in range(20)]
    return [(await attacker.create("/feature_flags/", flag))[0] for flag in made]


def _page_views(count: int, *, persons: int) -> Send:
    async def send(attacker: Attacker) -> list[int]:
        views = [event("$pageview", f"p{number % persons}", {"$lib": "web"}) for number in range(count)]
        return [await attacker.capture(views)]

    return send


def _cohort(criteria: int) -> Send:
    """Create a cohort and a flag for it, and persons that may be in it."""

    async def send(attacker: Attacker) -> list[int]:
        made, cohort = await attacker.create("/cohorts/", docs.cohort("attack", docs.conditions(criteria)))
        member = {"key": "id", "value": cohort, "type": "cohort"}
        flag, _ = await attacker.create("/feature_flags/", docs.flag("attack", {"properties": [member]}))
        known = [event("visit", f"p{number}", {"$set": {"k0": "b"}}) for number in range(3_000)]
        return [made, flag, await attacker.capture(known)]

    return send


async def _unfinished_head(attacker: Attacker) -> list[int]:
    reader, writer = await asyncio.open_connection("127.0.0.1", attacker.port)
    with contextlib.suppress(ConnectionError):
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
        for _ in range(60):
            writer.write(b"x" * MIB)
            await writer.drain()
    status = await _status(reader)
    writer.close()
    return [status]


async def _status(reader: asyncio.StreamReader) -> int:
    """Return the status of the answer; 499 where the connection was closed without one."""
    try:
        line = await reader.readline()
    except ConnectionError:
        return 499
    return int(line.split()[1]) if line else 499


async def _half_open_heads(attacker: Attacker) -> list[int]:
    opened = []
    for _ in range(800):
        reader, writer = await asyncio.open_connection("127.0.0.1", attacker.port)
        writer.write(b"GET / HTTP/1.1\r\n")
        opened.append((reader, writer))
    statuses = await asyncio.gather(*(_status(reader) for reader, _ in opened))
    for _, writer in opened:
        writer.close()
    return sorted(set(statuses))


def _experiment(filters: JsonDict) -> Send:
    async def send(attacker: Attacker) -> list[int]:
        made, experiment = await attacker.create("/experiments/", docs.experiment("attack", filters=filters))
        return [made, (await attacker.member("GET", f"/experiments/{experiment}/results/")).status_code]

    return send


async def _multiply(attacker: Attacker) -> list[int]:
    """Use an action with 100 steps in a metric with 300 conditions."""
    steps = [{"event": f"e{number}", "properties": docs.conditions(1, "event")} for number in range(100)]
    made, action = await attacker.create("/actions/", docs.action("attack", *steps))
    either = {"type": "OR", "values": docs.conditions(300, "event")}
    entity = {"id": action, "order": 0, "type": "actions", "properties": either}
    return [made, *await _experiment({"insight": "TRENDS", "actions": [entity]})(attacker)]


async def _weights(attacker: Attacker) -> list[int]:
    keys = [f"v{number}" for number in range(1_000_000)]
    body = {
        "metric_type": "funnel",
        "variants": [{"key": key, "success_count": 1, "failure_count": 1} for key in ("control", "test")],
        "expected_split": dict.fromkeys(keys, 1),
    }
    return [(await attacker.member("POST", "/experiments/analyze/", body)).status_code]


async def _twenty_pages(attacker: Attacker) -> list[int]:
    body = docs.experiment("attack", secondary_metrics=_different(10, "day"))
    made, experiment = await attacker.create("/experiments/", body)
    return [made, *await asyncio.gather(*(attacker.page(experiment) for _ in range(20)))]


async def _costly_patterns(attacker: Attacker) -> list[int]:
    listed = docs.costly_patterns(200)
    of_events = docs.costly_patterns(200, "event")
    cohort = await attacker.create("/cohorts/", docs.cohort("attack", listed))
    action = await attacker.create("/actions/", docs.action("attack", {"event": "a", "properties": of_events}))
    project = await attacker.member("PATCH", "/", {"test_account_filters": listed})
    step = {"id": "a", "order": 0, "properties": of_events}
    return [
        cohort[0],
        action[0],
        project.status_code,
        *await _experiment({"insight": "TRENDS", "events": [step]})(attacker),
    ]


async def _large_question(attacker: Attacker) -> list[int]:
    body = b'{"token":"x","distinct_id":[' + b"[]," * 6_900_000 + b"[]]}"
    headers = {"Content-Encoding": "gzip", "Content-Type": JSON}
    return [(await attacker.http.post("/decide/?v=2", content=gzip.compress(body), headers=headers)).status_code]


def _hidden(size: int) -> bytes:
    """Return base64 of gzip of one field, to see that all ways in are the same."""
    return base64.b64encode(gzip.compress(b'[{"event":[' + b"[]," * size + b"[]]}]", 9))


async def _large_field_in_a_form(attacker: Attacker) -> list[int]:
    return [(await attacker.http.post("/e/", data={"data": _hidden(6_900_000).decode()})).status_code]


_LISTS = b'[{"event":[' + b"[]," * 6_900_000 + b"[]]}]"
_EMPTY_EVENTS = b"[" + b"{}," * 6_900_000 + b"{}]"
_MANY_CONDITIONS: Mapping[str, Any] = {"properties": docs.conditions(20)}

ATTACKS: Sequence[Attack] = (
    Attack("L1", "6.9 million empty events in 20 kB", "anybody", _bomb(_EMPTY_EVENTS)),
    Attack("L1", "the same, three at once", "anybody", _bomb(_EMPTY_EVENTS, at_once=3)),
    Attack(
        "L2",
        "8,000 events that set properties of a person",
        "token",
        _events("properties set by events of a person", 8_000),
    ),
    Attack("L2", "36,000 of them", "token", _events("properties set by events of a person", 36_000)),
    Attack("L2", "a chain of 1,000 merges", "token", _events("merges in a chain by $merge_dangerously", 1_000)),
    Attack("L2", "a chain of 8,000 merges", "token", _events("merges in a chain by $merge_dangerously", 8_000)),
    Attack(
        "L3", "5 metrics by hour since 2016, in the background", "member", _metrics(5, "hour", "2016-01-01T00:00:00Z")
    ),
    Attack(
        "L3",
        "500 metrics by day, analysis",
        "member",
        _metrics(500, "day", "2024-01-01T00:00:00Z", "analysis"),
    ),
    Attack(
        "L3",
        "50 metrics by day, analysis",
        "member",
        _metrics(50, "day", "2024-01-01T00:00:00Z", "analysis"),
    ),
    Attack("L4", "40 events of 10 MiB, results, list", "member", _large_events(10 * MIB)),
    Attack("L4", "40 events of 1 MiB, results, list", "member", _large_events(MIB - 1_000)),
    Attack("L5", "a flag with 200 costly patterns", "member", _flag({"properties": docs.costly_patterns(200)})),
    Attack("L5", "a flag with 1,000 x 20 conditions", "member", _flag(*[dict(_MANY_CONDITIONS)] * 1_000)),
    Attack("L6", "8 x 10 MiB for a person", "token", _grow_a_person),
    Attack("L6", "merges of a person with 10,000 ids", "token", _merge_back_and_forth, prepare=_join_ids),
    Attack("L7", "20 MB with a key in the body", "anybody", _key_in_a_large_body),
    Attack("L7", "18 MB of filters", "member", _large_filters),
    Attack(
        "L9", "page of an experiment with 500 metrics", "member", _metrics(500, "day", "2024-01-01T00:00:00Z", "page")
    ),
    Attack(
        "L9", "page of an experiment with 50 metrics", "member", _metrics(50, "day", "2024-01-01T00:00:00Z", "page")
    ),
    Attack("L10", "20,000 page views, 20 flags", "token", _page_views(20_000, persons=20_000), prepare=_make_flags),
    Attack("L10", "10,000 page views, 20 flags", "token", _page_views(10_000, persons=10_000), prepare=_make_flags),
    Attack("L15", "60 MB of a head", "anybody", _unfinished_head),
    Attack("L15", "800 heads half open", "anybody", _half_open_heads),
    Attack(
        "L18",
        "300 page views, cohort of 10,000 criteria",
        "token",
        _page_views(300, persons=300),
        prepare=_cohort(10_000),
    ),
    Attack(
        "L18", "300 page views, cohort of 200 criteria", "token", _page_views(300, persons=300), prepare=_cohort(200)
    ),
    Attack(
        "L18",
        "3,000 page views, cohort of 20 criteria",
        "token",
        _page_views(3_000, persons=3_000),
        prepare=_cohort(20),
    ),
    Attack("L19", "an event whose name is a list of 6.9 million", "anybody", _bomb(_LISTS)),
    Attack("L19", "the same in a form", "anybody", _large_field_in_a_form),
    Attack("L19", "a distinct id that is a list of 6.9 million", "anybody", _large_question),
    Attack("L20", "8 x 10 MiB for a group", "token", _grow_a_group),
    Attack("L20", "5,000 steps of a funnel", "member", _experiment(docs.funnel(5_000))),
    Attack("L20", "500,000 values in a condition", "member", _flag({"properties": docs.values(500_000)})),
    Attack("L20", "300 conditions x 100 steps of an action", "member", _multiply),
    Attack("L20", "a million weights", "member", _weights),
    Attack("L21", "20 readers of a page", "member", _twenty_pages),
    Attack("L22", "costly patterns elsewhere", "member", _costly_patterns),
)
