"""What SDKs send to the capture endpoints, by dimension, encoding and address."""

import base64
import gzip
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple
from urllib.parse import quote, urlencode

from app.events.capture.router import ALIASES
from tests.sdk.lz_encoding import compress
from tests.support.inputs.model import JSON, Call, Dimension, JsonDict, Sender, Target, encoded, nested_text, numbered

ADDRESSES = ("/batch/", "/capture/", *ALIASES)
URL_ENCODED = "application/x-www-form-urlencoded"
PLACE = '"@"'  # where a text is put that an encoder would refuse to write


class Events(NamedTuple):
    """A way in which the events of a request grow."""

    sender: Sender
    start: int
    beyond: int
    build: Callable[[str, int], list[JsonDict]]


def event(name: str = "visit", distinct_id: str = "ann", properties: JsonDict | None = None) -> JsonDict:
    return {"event": name, "distinct_id": distinct_id, "properties": properties or {}}


def _merges(name: str, other: str) -> Callable[[str, int], list[JsonDict]]:
    def chain(unique: str, size: int) -> list[JsonDict]:
        return [event(name, f"{unique}-{link}", {other: f"{unique}-{link + 1}"}) for link in range(size)]

    return chain


def _star(unique: str, size: int) -> list[JsonDict]:
    return [event("$identify", unique, {"$anon_distinct_id": f"{unique}-{ray}"}) for ray in range(size)]


def _pairs_then_one(unique: str, size: int) -> list[JsonDict]:
    """Join persons two by two, then four by four, and so on."""
    joined, width = list[JsonDict](), 1
    while width < size:
        joined += [
            event("$merge_dangerously", f"{unique}-{first}", {"alias": f"{unique}-{first + width}"})
            for first in range(0, size - width, 2 * width)
        ]
        width *= 2
    return joined


def _group(kind: str, key: str, properties: JsonDict) -> JsonDict:
    return event("$groupidentify", "ann", {"$group_type": kind, "$group_key": key, "$group_set": properties})


def _web_page_view(distinct_id: str) -> JsonDict:
    return event("$pageview", distinct_id, {"$lib": "web", "$current_url": "https://example.com/"})


EVENTS: Mapping[str, Events] = {
    "events without fields": Events("anybody", 1_250, 500_000, lambda _, size: [{}] * size),
    "ordinary events": Events("token", 1_250, 10_001, lambda unique, size: [event(distinct_id=unique)] * size),
    "persons": Events(
        "token", 1_250, 10_001, lambda unique, size: [event(distinct_id=f"{unique}-{place}") for place in range(size)]
    ),
    "properties set by events of a person": Events(
        "token",
        1_250,
        10_001,
        lambda unique, size: [
            event(distinct_id=unique, properties={"$set": {f"k{place}": 1}}) for place in range(size)
        ],
    ),
    "page views of persons": Events(
        "token", 1_250, 10_001, lambda unique, size: [_web_page_view(f"{unique}-{place}") for place in range(size)]
    ),
    "merges in a chain by $create_alias": Events("token", 125, 4_000, _merges("$create_alias", "alias")),
    "merges in a chain by $merge_dangerously": Events("token", 125, 4_000, _merges("$merge_dangerously", "alias")),
    "merges in a chain by $identify": Events("token", 125, 4_000, _merges("$identify", "$anon_distinct_id")),
    "merges into a person": Events("token", 125, 4_000, _star),
    "merges as a tree": Events("token", 125, 4_000, _pairs_then_one),
    "group types": Events(
        "token", 250, 10_001, lambda unique, size: [_group(f"{unique}-{place}", "a", {}) for place in range(size)]
    ),
    "groups": Events(
        "token",
        1_250,
        10_001,
        lambda unique, size: [_group("company", f"{unique}{place}", {}) for place in range(size)],
    ),
    "properties set by events of a group": Events(
        "token", 1_250, 10_001, lambda unique, size: [_group("company", unique, {f"k{n}": 1}) for n in range(size)]
    ),
    "properties of an event": Events(
        "token", 5_000, 100_000, lambda unique, size: [event(distinct_id=unique, properties=numbered(size))]
    ),
    "length of a name of a property": Events(
        "token", 65_536, 2_000_000, lambda _, size: [event(properties={"p" * size: 1})]
    ),
    "length of a property": Events(
        "token", 65_536, 2_000_000, lambda _, size: [event(properties={"note": "x" * size})]
    ),
    "items of a property": Events(
        "token", 25_000, 2_000_000, lambda _, size: [event(properties={"note": [[]] * size})]
    ),
    "nesting of a property": Events("token", 100, 400_000, lambda _, size: [event(properties={"note": f"@{size}"})]),
    "nesting of a person's property": Events(
        "token", 100, 400_000, lambda _, size: [event(properties={"$set": {"note": f"@{size}"}})]
    ),
    "properties of a person": Events(
        "token", 4_000, 80_000, lambda unique, size: [event(distinct_id=unique, properties={"$set": numbered(size)})]
    ),
    "first properties of a person": Events(
        "token",
        4_000,
        80_000,
        lambda unique, size: [event(distinct_id=unique, properties={"$set_once": numbered(size)})],
    ),
    "properties of a person that go": Events(
        "token",
        4_000,
        80_000,
        lambda unique, size: [event(distinct_id=unique, properties={"$unset": [*numbered(size)]})],
    ),
    "properties of a person beside the event's": Events(
        "token", 4_000, 80_000, lambda unique, size: [{**event(distinct_id=unique), "$set": numbered(size)}]
    ),
    "properties of a group": Events(
        "token", 4_000, 80_000, lambda unique, size: [_group("company", unique, numbered(size))]
    ),
    "groups of an event": Events(
        "token", 4_000, 80_000, lambda _, size: [event(properties={"$groups": numbered(size)})]
    ),
    **{
        f"items of the field {name}": Events(
            "anybody",
            500,
            300_000,
            lambda _, size, name=name: [{**event(), name: [[]] * size}],  # type: ignore[misc]
        )
        for name in ("event", "distinct_id", "$distinct_id", "uuid", "timestamp", "offset", "token", "api_key", "$set")
    },
    **{
        f"length of the field {name}": Events(
            "anybody",
            2_000,
            2_000_000,
            lambda _, size, name=name: [{**event(), name: "x" * size}],  # type: ignore[misc]
        )
        for name in ("event", "distinct_id", "uuid", "timestamp", "token", "unknown")
    },
}


def payload(events: list[JsonDict], token: str | None) -> bytes:
    """Return the JSON of a batch; `@7` as a property becomes seven objects inside each other."""
    document = {"batch": events} if token is None else {"api_key": token, "batch": events}
    text = encoded(document)
    if len(events) == 1:
        for depth in _depths(events[0]):
            text = text.replace(f'"@{depth}"'.encode(), nested_text(depth).encode())
    return text


def _depths(document: JsonDict) -> Iterator[int]:
    for value in document.values():
        if isinstance(value, dict):
            yield from _depths(value)
        elif isinstance(value, str) and value.startswith("@"):
            yield int(value[1:])


def as_json(path: str, text: bytes) -> Call:
    return Call("POST", path, text, {"Content-Type": JSON})


def as_gzip(path: str, text: bytes) -> Call:
    return Call("POST", path, gzip.compress(text, 6), {"Content-Type": JSON, "Content-Encoding": "gzip"})


def as_base64(path: str, text: bytes) -> Call:
    return Call("POST", path, base64.b64encode(text), {"Content-Type": "text/plain"})


def as_form(path: str, text: bytes) -> Call:
    return Call("POST", path, urlencode({"data": base64.b64encode(text)}).encode(), {"Content-Type": URL_ENCODED})


def as_multipart(path: str, text: bytes) -> Call:
    body = b'--limit\r\nContent-Disposition: form-data; name="data"\r\n\r\n' + text + b"\r\n--limit--\r\n"
    return Call("POST", path, body, {"Content-Type": "multipart/form-data; boundary=limit"})


def as_lz(path: str, text: bytes) -> Call:
    return Call("POST", f"{path}?compression=lz64", compress(text.decode()).encode(), {"Content-Type": "text/plain"})


def as_query(path: str, text: bytes) -> Call:
    return Call("GET", f"{path}?data={quote(base64.b64encode(text))}")


Encode = Callable[[str, bytes], Call]
# With the sizes of what is sent in this encoding: lz64 is slow and limited, and a query ends with the 64 KiB of a head.
ENCODINGS: Mapping[str, tuple[Encode, int, int]] = {
    "JSON": (as_json, 500, 10_001),
    "gzip": (as_gzip, 500, 500_000),
    "base64": (as_base64, 500, 10_001),
    "form": (as_form, 500, 10_001),
    "multipart": (as_multipart, 500, 10_001),
    "lz64": (as_lz, 500, 30_000),
    "query": (as_query, 50, 450),
}


def build(path: str, encode: Encode, kind: Events) -> Callable[[Target, int], Call]:
    def request(target: Target, size: int) -> Call:
        token = None if kind.sender == "anybody" else target.token
        return encode(path, payload(kind.build(target.unique, size), token))

    return request


def _fields(form: bool) -> Callable[[Target, int], Call]:
    def request(target: Target, size: int) -> Call:
        fields = urlencode({**numbered(size), "data": encoded([event()]).decode(), "token": target.token})
        if form:
            return Call("POST", "/e/", fields.encode(), {"Content-Type": URL_ENCODED})
        return Call("GET", f"/e/?{fields}")

    return request


def dimensions() -> Iterator[Dimension]:
    route = ("POST", "/batch/")
    for name, kind in EVENTS.items():
        yield Dimension(name, kind.sender, route, kind.start, kind.beyond, build("/batch/", as_json, kind))
    for path in ADDRESSES:
        for encoding, (encode, start, beyond) in ENCODINGS.items():
            ordinary = EVENTS["events without fields" if encoding == "lz64" else "persons"]
            called = ("GET" if encode is as_query else "POST", path)
            name = f"events as {encoding}"
            yield Dimension(name, ordinary.sender, called, start, beyond, build(path, encode, ordinary))
    yield Dimension("fields of a form", "anybody", ("POST", "/e/"), 125, 50_000, _fields(form=True))
    yield Dimension("parameters of a query", "anybody", ("GET", "/e/"), 125, 4_000, _fields(form=False))
    yield Dimension("length of a recording", "anybody", ("POST", "/s/"), 65_536, 25_000_000, _recording)


def _recording(_: Target, size: int) -> Call:
    return Call("POST", "/s/", b"x" * size)
