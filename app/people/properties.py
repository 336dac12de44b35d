"""The properties of a person or a group: JSON of bounded size, changed in place."""

import re
from collections.abc import Callable, Mapping, Set
from itertools import islice
from typing import Any, Final, Self, TypeAlias

import msgspec
from msgspec import Raw

from app.common.limits import PROPERTIES, Limit
from app.sdk.bounded_structs import Scalar

MAX_DEPTH: Final = 64
# Lists and objects stay JSON text: decoded they would take twenty times as much memory.
Value: TypeAlias = Scalar | Raw
Properties: TypeAlias = dict[str, Value]

_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_MAY_BE_BEYOND_A_FLOAT: Final = re.compile(rb"[0-9]{200}|[eE]\+?[0-9]{3}")
_LENGTHENING: Final = 3  # of ``{"a":1e15}`` when it is written as ``{"a":1000000000000000.0}``
_NAMED_KEYS: Final = 5
_NAMED_CHARACTERS: Final = 100
# The values are scalars; a dict of them could not be changed to hold others.
_decode_scalars: Callable[[bytes | str | Raw], Properties] = msgspec.json.Decoder(dict[str, Scalar]).decode  # type: ignore[assignment]
_decode_any = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_scalar = msgspec.json.Decoder(Scalar).decode
_decode: Any = msgspec.json.Decoder().decode  # any JSON
_encode = msgspec.json.Encoder().encode


def check_values(document: Raw) -> None:
    """Refuse a document that has a number beyond a float.

    Raises
    ------
    msgspec.ValidationError
    """
    try:
        _decode_scalars(document)
    except msgspec.ValidationError:
        if _MAY_BE_BEYOND_A_FLOAT.search(document):
            _decode(document)


def read_properties(document: bytes | str | Raw) -> Properties:
    """Return the properties in a JSON object; none for other JSON.

    Values are left out that are nested too deeply to be read back.
    """
    try:
        return _decode_scalars(document)
    except msgspec.ValidationError:
        try:
            values = _decode_any(document)
        except msgspec.ValidationError:
            return {}
        return {key: _read_value(raw) for key, raw in values.items() if is_bounded(raw)}


def _read_value(raw: Raw) -> Value:
    text = bytes(raw)
    return Raw(text) if text.startswith((b"[", b"{")) else _decode_scalar(text)


def is_bounded(raw: Raw) -> bool:
    """Whether a value is nested less deeply than ``MAX_DEPTH``."""
    text = bytes(raw)
    if text.count(b"[") + text.count(b"{") < MAX_DEPTH or not text.startswith((b"[", b"{")):
        return True
    return not _peel(_without_strings(text).translate(_BRACKETS, _NO_BRACKETS))


def _without_strings(text: bytes) -> bytes:
    unescaped = text.replace(rb"\\", b"").replace(rb"\"", b"")
    return b"".join(unescaped.split(b'"')[::2])


def _peel(brackets: bytes) -> bytes:
    """Remove the innermost brackets as often as levels are allowed, and return what is left."""
    for _ in range(MAX_DEPTH - 1):
        if not brackets:
            break
        brackets = brackets.replace(b"[]", b"")
    return brackets


def write_properties(properties: Mapping[str, Value]) -> Raw:
    """Return properties as JSON text, which the database takes as it is."""
    try:
        return Raw(_encode(properties))
    except OverflowError:  # an integer of more than 64 bits
        return Raw(_encode({key: _encodable(value) for key, value in properties.items()}))


def _encodable(value: Value) -> Value:
    return Raw(str(value).encode()) if type(value) is int else value


class PropertyDocument:
    """Properties with a limit on their size: a property that does not fit is left out.

    Attributes
    ----------
    size : int
        Of the properties as compact JSON, in bytes.
    left_out : int
        How often a property was left out.
    first_left_out : list of str
        The first keys that were left out, cut to a hundred characters.
    """

    __slots__ = ("_bound", "_size", "first_left_out", "left_out", "limit", "values")

    def __init__(self, values: Properties, limit: Limit, size: int | None = None) -> None:
        self.values = values
        self.left_out = 0
        self.first_left_out: list[str] = []
        self.limit = limit
        self._size: int | None = None  # is kept once the bound has reached the limit
        self._bound = _size_of(values) if size is None else size

    @classmethod
    def read(cls, text: str, limit: Limit) -> Self:
        return cls(read_properties(text), limit, len(text) if text.isascii() else len(text.encode()))

    @property
    def size(self) -> int:
        if self._size is None:
            self._size = _size_of(self.values)
        return self._size

    def cut(self, sent: Properties) -> Properties:
        """Return as many of the sent properties as a document may have: the others are left out unseen."""
        if len(sent) <= PROPERTIES.value:
            return sent
        names = iter(sent)
        kept = {key: sent[key] for key in islice(names, PROPERTIES.value)}
        self.left_out += len(sent) - len(kept)
        self._name_left_out(*islice(names, _NAMED_KEYS))
        return kept

    def assign_all(self, changed: Properties, at_most: int) -> bool:
        """Give properties other values, which were sent in ``at_most`` bytes, if they fit; return whether one did."""
        self._bound += _LENGTHENING * at_most
        if self._size is None and self._is_certain_to_fit(self._bound, len(changed)):
            self.values |= changed
            return bool(changed)
        is_changed = False
        for key, value in changed.items():
            is_changed |= self.assign(key, value)
        return is_changed

    def _is_certain_to_fit(self, size: int, added: int) -> bool:
        return size <= self.limit.value and len(self.values) + added <= PROPERTIES.value

    def assign(self, key: str, value: Value) -> bool:
        """Give a property a value, if it fits; return whether that changed it."""
        is_new = key not in self.values
        if not is_new and is_equal(self.values[key], value):
            return False
        if is_new and len(self.values) >= PROPERTIES.value:
            return self._leave_out(key)
        growth = _cost(key, value) - (0 if is_new else _cost(key, self.values[key]))
        size = self.size + growth
        if growth > 0 and size > self.limit.value:
            return self._leave_out(key)
        self.values[key] = value
        self._size = size
        return True

    def _leave_out(self, key: str) -> bool:
        self.left_out += 1
        if len(self.first_left_out) < _NAMED_KEYS:
            self._name_left_out(key)
        return False

    def _name_left_out(self, *keys: str) -> None:
        self.first_left_out += [key[:_NAMED_CHARACTERS] for key in keys]
        del self.first_left_out[_NAMED_KEYS:]

    def remove(self, keys: Set[str]) -> bool:
        """Remove properties; return whether there was one of them."""
        found = self.values.keys() & keys
        for key in found:
            value = self.values.pop(key)
            if self._size is not None:
                self._size -= _cost(key, value)
        return bool(found)

    def absorb(self, other: Self) -> None:
        """Add the properties of another document that this one does not have; the other one is used up.

        Where all fit, that takes as long as the smaller of the two, so that a chain of merges stays linear.
        """
        self.left_out += other.left_out
        self._name_left_out(*other.first_left_out)
        bound = sum(one._bound if one._size is None else one._size for one in (self, other))
        if not self._is_certain_to_fit(bound, len(other.values)):
            for key, value in other.values.items():
                if key not in self.values:
                    self.assign(key, value)
            return
        smaller, larger = sorted((self.values, other.values), key=len)
        if smaller is other.values:
            smaller = {key: value for key, value in smaller.items() if key not in larger}
        self.values = larger
        self.values |= smaller
        self._bound, self._size = bound, None


def _size_of(values: Properties) -> int:
    return 1 + sum(_cost(key, value) for key, value in values.items())


def _cost(key: str, value: Value) -> int:
    """Return the bytes of a property in compact JSON, with its colon and comma."""
    return len(_encode(key)) + len(_encode(_encodable(value))) + 2


def is_equal(one: Value, other: Value) -> bool:
    """Whether two values are the same JSON."""
    if not isinstance(one, Raw) and not isinstance(other, Raw):
        return one == other
    if isinstance(one, Raw) and isinstance(other, Raw):
        return bytes(one) == bytes(other) or bool(_decode(one) == _decode(other))
    return False
