"""Structures of which no field becomes a list or an object of unknown size.

An SDK sends texts and numbers where they are expected, and they are decoded directly. Anything else in their place was
written by hand: the JSON of each field is then measured before it is decoded.
"""

import json
from collections.abc import Set
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType

from app.common import limits

Scalar: TypeAlias = str | int | float | bool | None
Json: TypeAlias = Raw | UnsetType  # a value that is decoded when it is needed
Structure = TypeVar("Structure", bound=msgspec.Struct)


class FieldTooLargeError(ValueError):
    """The JSON of ``field``, which holds a text, is larger than ``EVENT_FIELD_BYTES``."""

    def __init__(self, field: str) -> None:
        super().__init__(limits.EVENT_FIELD_BYTES.detail)
        self.field = field


class BoundedDecoder(Generic[Structure]):
    """Decodes objects as a structure whose fields are of the types ``Scalar`` and ``Json``.

    Parameters
    ----------
    unbounded
        Fields of the type ``Scalar`` that may be of any size; a list or an object in their place is read as null.
    """

    def __init__(self, kind: type[Structure], unbounded: Set[str] = frozenset()) -> None:
        self._kind = kind
        self._unbounded = unbounded
        self._decode = msgspec.json.Decoder(kind).decode
        self._fields = {field.name: field.type == Json for field in msgspec.structs.fields(kind)}
        self._names = {field.name: field.encode_name for field in msgspec.structs.fields(kind)}
        self.raw_kind = _with_raw_fields(kind)
        self._decode_raw = msgspec.json.Decoder(self.raw_kind).decode

    def decode(self, document: bytes | Raw) -> Structure:
        """Decode an object; a list or an object in a field that holds a text becomes its JSON.

        Raises
        ------
        msgspec.DecodeError
            The document is not an object, or has a number beyond a float.
        FieldTooLargeError
        """
        try:
            return self._decode(document)
        except msgspec.ValidationError:
            return self.from_raw(self._decode_raw(document))

    def from_raw(self, raw: Any) -> Structure:  # noqa: ANN401  # an instance of ``raw_kind``, which is made at run time
        """Decode each field by itself, after its size is known."""
        values = {}
        for name, is_json in self._fields.items():
            value: Json = getattr(raw, name)
            if not isinstance(value, UnsetType):
                values[name] = value if is_json else self._read_scalar(name, bytes(value))
        return self._kind(**values)

    def _read_scalar(self, name: str, text: bytes) -> Scalar:
        if name in self._unbounded:
            if text.startswith((b"[", b"{")):
                return None
        elif len(text) > limits.EVENT_FIELD_BYTES.value:
            raise FieldTooLargeError(self._names[name])
        value: Any = msgspec.json.decode(text)  # any JSON
        if isinstance(value, dict | list):
            return json.dumps(value, ensure_ascii=False) if value else ""
        scalar: Scalar = value
        return scalar


def _with_raw_fields(kind: type[msgspec.Struct]) -> type[Any]:
    return msgspec.defstruct(
        f"Raw{kind.__name__}",
        [
            (field.name, Json, msgspec.field(default=UNSET, name=field.encode_name))
            for field in msgspec.structs.fields(kind)
        ],
    )


def is_sent(raw: Json) -> bool:
    """Whether a value was sent that is not null."""
    return not isinstance(raw, UnsetType) and (len(raw) > len(b"null") or bytes(raw) != b"null")
