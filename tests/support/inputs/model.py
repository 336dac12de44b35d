"""What a growing input is: a request to one operation, of a size, by a sender."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from tests.support.application import Route
from tests.support.service import Service

Sender: TypeAlias = Literal["anybody", "token", "member"]
JsonDict: TypeAlias = dict[str, Any]  # a body: whatever JSON holds
JSON = "application/json"
# For how long an input may hold the event loop at a stretch.
BAR_MS: Mapping[Sender, float] = {"anybody": 100, "token": 100, "member": 250}


@dataclass(frozen=True)
class Target:
    """The project that is written to, and a text that no other request has, for names that may be given once."""

    token: str
    key: str
    ids: Mapping[str, str]
    unique: str


@dataclass(frozen=True)
class Call:
    """A request, encoded, so that a client has nothing left to compute."""

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Build: TypeAlias = Callable[[Target, int], Call]
# Stores what is read afterwards, and returns ids. Refused sizes raise `Refused`.
Prepare: TypeAlias = Callable[[Service, int], Awaitable[Mapping[str, str]]]


class Refused(Exception):
    """What should be stored was refused as too large: there is nothing to read."""


@dataclass(frozen=True)
class Dimension:
    """One way in which a request to an operation grows.

    Attributes
    ----------
    start : int
        A size whose own cost can be told from the fixed one.
    beyond : int
        A size beyond the limit.
    is_taken : bool
        Whether the first size has to be accepted: what is refused early would tell nothing of the work.
    """

    name: str
    sender: Sender
    route: Route
    start: int
    beyond: int
    build: Build
    prepare: Prepare | None = None
    is_taken: bool = True

    def __str__(self) -> str:
        method, path = self.route
        return f"{method} {path}: {self.name}"


def encoded(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def keyed(route: Route, target: Target, document: object | None, query: str = "") -> Call:
    """Return the request of a member."""
    method, path = route
    headers = {"Authorization": f"Bearer {target.key}", "Content-Type": JSON}
    body = b"" if document is None else encoded(document)
    return Call(method, path.format_map({**target.ids, "token": target.token}) + query, body, headers)


def nested(depth: int) -> JsonDict:
    """Return an object that holds an object, and so on, without recursion in whoever builds it."""
    document: JsonDict = {}
    for _ in range(depth):
        document = {"a": document}
    return document


def nested_text(depth: int) -> str:
    """Return the JSON of `nested`, which an encoder would refuse to write at this depth."""
    return '{"a":' * depth + "{}" + "}" * depth


def numbered(count: int, prefix: str = "p") -> JsonDict:
    return {f"{prefix}{number}": number for number in range(count)}
