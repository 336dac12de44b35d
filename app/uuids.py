"""Identifiers that this service gives out. Pure, but for clock and chance."""

import os
import time
from uuid import UUID

_RANDOM_BYTES = 10


def time_ordered_uuid() -> UUID:
    """Return a new UUID of version 7: it begins with the milliseconds since 1970.

    New ones lie beside each other in an index, so that storing them touches few of its pages however large it is.
    """
    number = time.time_ns() // 1_000_000 << 80 | int.from_bytes(os.urandom(_RANDOM_BYTES))
    return UUID(int=number & ~(0xF << 76 | 0b11 << 62) | 0x7 << 76 | 0b10 << 62)
