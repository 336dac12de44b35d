"""What SDKs send to the endpoints that evaluate flags, and the flags that a project may have."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from tests.support.inputs.model import JSON, Call, Dimension, JsonDict, Sender, Target, encoded, numbered

ADDRESSES = ("/flags/", "/decide/")
OFREP = ("/ofrep/v1/evaluate/flags/", "/ofrep/v1/evaluate/flags/{key}/")
CONTEXTS: Mapping[str, tuple[int, int, Callable[[int], JsonDict]]] = {
    "attributes of the context": (4_000, 100_000, numbered),
    "groups of the context": (4_000, 100_000, lambda size: {"$groups": numbered(size)}),
    "length of an attribute": (65_536, 2_000_000, lambda size: {"plan": "x" * size}),
}


class Question(NamedTuple):
    sender: Sender
    start: int
    beyond: int
    build: Callable[[int], JsonDict]


QUESTIONS: Mapping[str, Question] = {
    "properties of the person": Question("token", 4_000, 100_000, lambda size: {"person_properties": numbered(size)}),
    "groups": Question("token", 4_000, 100_000, lambda size: {"groups": numbered(size)}),
    "groups with properties": Question(
        "token",
        2_000,
        50_000,
        lambda size: {"group_properties": {f"t{place}": {"a": 1} for place in range(size)}, "groups": numbered(size)},
    ),
    "properties of a group": Question(
        "token", 4_000, 100_000, lambda size: {"groups": {"a": "b"}, "group_properties": {"a": numbered(size)}}
    ),
    "flags asked for": Question(
        "token", 4_000, 200_000, lambda size: {"flag_keys_to_evaluate": [f"f{place}" for place in range(size)]}
    ),
    "length of a property": Question(
        "token", 65_536, 2_000_000, lambda size: {"person_properties": {"plan": "x" * size}}
    ),
    "length of the distinct id": Question("token", 65_536, 2_000_000, lambda size: {"distinct_id": "x" * size}),
    "items of the distinct id": Question("anybody", 20_000, 400_000, lambda size: {"distinct_id": [[]] * size}),
    "items of the token": Question("anybody", 20_000, 400_000, lambda size: {"token": [[]] * size}),
    "items of a property": Question("token", 20_000, 400_000, lambda size: {"person_properties": {"a": [[]] * size}}),
    "items of an unknown field": Question("anybody", 20_000, 400_000, lambda size: {"token": "x", "a": [[]] * size}),
}


def build(path: str, question: Question) -> Callable[[Target, int], Call]:
    def request(target: Target, size: int) -> Call:
        body = {"token": target.token, "distinct_id": "ann", **question.build(size)}
        return Call("POST", path, encoded(body), {"Content-Type": JSON})

    return request


def ask(target: Target, _: int = 0) -> Call:
    return build("/flags/", Question("token", 0, 0, lambda _: {"person_properties": {"plan": "x" * 100}}))(target, 0)


def _in_context(path: str, grow: Callable[[int], JsonDict]) -> Callable[[Target, int], Call]:
    def request(target: Target, size: int) -> Call:
        body = {"context": {"targetingKey": "ann", **grow(size)}}
        headers = {"Content-Type": JSON, "Authorization": f"Bearer {target.token}"}
        return Call("POST", path.format(key="beta-feature"), encoded(body), headers)

    return request


def dimensions() -> Iterator[Dimension]:
    for path in ADDRESSES:
        for name, question in QUESTIONS.items():
            route = ("POST", path)
            yield Dimension(name, question.sender, route, question.start, question.beyond, build(path, question))
    for path in OFREP:
        for name, (start, beyond, grow) in CONTEXTS.items():
            is_taken = "{key}" not in path  # there is no such flag
            yield Dimension(name, "token", ("POST", path), start, beyond, _in_context(path, grow), is_taken=is_taken)
