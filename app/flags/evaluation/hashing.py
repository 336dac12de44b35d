"""Where somebody stands between 0 and 1 for a flag: the arithmetic that every SDK shares, to the last bit. Pure."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

_BITS: Final = 60  # of the digest's 160: the first 15 of its hexadecimal digits
_BYTES: Final = 8
_SCALE: Final = float(2**_BITS - 1)
VARIANT_SALT: Final = "variant"

# A variant's key, and from where (included) to where (excluded) it reaches.
VariantRange: TypeAlias = tuple[str, float, float]


def hash_fraction(flag_key: str, identifier: str, salt: str = "") -> float:
    """Return the same number from 0 to 1 for the same flag and identifier, spread evenly over identifiers."""
    digest = hashlib.sha1(f"{flag_key}.{identifier}{salt}".encode(), usedforsecurity=False).digest()
    return (int.from_bytes(digest[:_BYTES]) >> (8 * _BYTES - _BITS)) / _SCALE


def variant_ranges(shares: Iterable[tuple[str, float]]) -> Sequence[VariantRange]:
    """Return each variant's range, given keys and shares in percent in the flag's order.

    Bounds are added up as the SDKs do it, rounding and all: another order of summation would move people on the edge.
    """
    ranges = []
    lower = 0.0
    for key, percentage in shares:
        upper = lower + percentage / 100
        ranges.append((key, lower, upper))
        lower = upper
    return tuple(ranges)


def pick_variant(flag_key: str, identifier: str, ranges: Sequence[VariantRange]) -> str | None:
    """Return the variant of somebody; None where the shares leave him out."""
    if not ranges:
        return None
    at = hash_fraction(flag_key, identifier, VARIANT_SALT)
    for key, lower, upper in ranges:
        if lower <= at < upper:
            return key
    return None
