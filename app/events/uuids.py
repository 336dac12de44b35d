"""The uuids of events: made anew, or derived from what makes an event the same when it is sent again."""

import hashlib
import os
from uuid import UUID

import msgspec

_SEPARATOR = b"\0"  # which names and distinct ids do not contain
_TIME_BITS = 80
_LENGTHS = frozenset({32, 36})  # without hyphens and with them
_decode = msgspec.json.Decoder(UUID).decode


def read_uuid(text: str) -> UUID:
    """Return the uuid that a text states, in any of the ways that Python knows.

    Raises
    ------
    ValueError
    """
    if len(text) not in _LENGTHS:  # of others, JSON's escapes could stand for one
        return UUID(text)
    try:
        return _decode(f'"{text}"')  # in a fifth of the time
    except msgspec.DecodeError:
        return UUID(text)


def new_uuid(milliseconds: int) -> UUID:
    """Return a UUID of version 7: it begins with the time, so that new ones are neighbors in an index."""
    return _of_version(7, milliseconds << _TIME_BITS | int.from_bytes(os.urandom(10)))


def derived_uuid(*parts: str) -> UUID:
    """Return a UUID of version 8 that is always the same for the same texts."""
    digest = hashlib.blake2b(_SEPARATOR.join(part.encode() for part in parts), digest_size=16).digest()
    return _of_version(8, int.from_bytes(digest))


def uuid_beside(used: UUID, name: str, distinct_id: str) -> UUID:
    """Return the uuid of an event that was sent under one that another event uses: sent again, it is the same."""
    return derived_uuid(used.hex, name, distinct_id)


def _of_version(version: int, number: int) -> UUID:
    return UUID(int=number & ~(0xF << 76 | 0b11 << 62) | version << 76 | 0b10 << 62)
