"""Every place of every body and every parameter of the OpenAPI document, grown: what no list of ours names."""

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from tests.support.application import Route, operations
from tests.support.inputs.model import JSON, Call, Dimension, Sender, Target, nested_text, numbered

Place = tuple[str | int, ...]
_MARK = '"@@"'
# What is put there, as JSON text, so that nothing is too deep to be written.
GROWN: Mapping[str, tuple[int, int, Callable[[int], str]]] = {
    "length": (20_000, 1_900_000, lambda size: json.dumps("x" * size)),
    "digits": (2_000, 1_900_000, lambda size: "9" * size),
    "items": (10_000, 600_000, lambda size: json.dumps([[]] * size, separators=(",", ":"))),
    "fields": (2_000, 100_000, lambda size: json.dumps(numbered(size), separators=(",", ":"))),
    "nesting": (2_000, 300_000, nested_text),
}


def places(document: Any, place: Place = ()) -> Iterator[Place]:
    """Yield the way to every value, containers too; of a list to the first item, because the others are alike."""
    yield place
    if isinstance(document, dict):
        for name, value in document.items():
            yield from places(value, (*place, name))
    if isinstance(document, list) and document:
        yield from places(document[0], (*place, 0))


def with_text(document: Any, place: Place, text: str) -> str:
    """Return the JSON of a document with another text in one place."""
    if not place:
        return text
    changed = copy.deepcopy(document)
    within = changed
    for name in place[:-1]:
        within = within[name]
    within[place[-1]] = "@@"
    return json.dumps(changed).replace(_MARK, text, 1)


def sender(route: Route) -> Sender:
    return "member" if "security" in operations()[route] else "token"


def example(route: Route) -> Any:
    media = operations()[route].get("requestBody", {}).get("content", {}).get(JSON)
    return media and (media["example"] if "example" in media else next(iter(media["examples"].values()))["value"])


def _headers(route: Route, target: Target) -> dict[str, str]:
    authorization = {"Authorization": f"Bearer {target.key}"} if sender(route) == "member" else {}
    return {"Content-Type": JSON, **authorization}


def _address(route: Route, target: Target) -> str:
    return route[1].format_map({**target.ids, "token": target.token})


def _at(route: Route, place: Place, grow: Callable[[int], str]) -> Callable[[Target, int], Call]:
    def request(target: Target, size: int) -> Call:
        document = json.loads(json.dumps(example(route)).replace("phc_3xAmPl3", target.token))
        body = with_text(document, place, grow(size)).encode()
        return Call(route[0], _address(route, target), body, _headers(route, target))

    return request


def _parameter(route: Route, name: str, grow: Callable[[int], str]) -> Callable[[Target, int], Call]:
    def request(target: Target, size: int) -> Call:
        return Call(route[0], f"{_address(route, target)}?{name}={quote(grow(size))}", b"", _headers(route, target))

    return request


def dimensions() -> Iterator[Dimension]:
    for route, operation in operations().items():
        document = example(route)
        for place in places(document) if document is not None else ():
            for kind, (start, beyond, grow) in GROWN.items():
                name = f"{kind} of {'.'.join(map(str, place)) or 'the body'}"
                yield Dimension(name, sender(route), route, start, beyond, _at(route, place, grow), is_taken=False)
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "query":  # a head has at most 64 KiB
                for kind in ("length", "digits", "items"):
                    name = f"{kind} of the parameter {parameter['name']}"
                    build = _parameter(route, parameter["name"], GROWN[kind][2])
                    yield Dimension(name, sender(route), route, 200, 6_000, build, is_taken=False)
