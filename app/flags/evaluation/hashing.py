"""The position of an identifier between 0 and 1 for a flag, bit for bit as all SDKs compute it."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

_BITS: Final = 60  # of the digest's 160: the first 15 of its hexadecimal digits
_BYTES: Final = 8
_SCALE: Final = float(2**_BITS - 1)
VARIANT_SALT: Final = "variant"

# A variant's key, with the bounds of its range: the lower one included, the upper one excluded.
VariantRange: TypeAlias = tuple[str, float, float]


def hash_fraction(flag_key: str, identifier: str, salt: str = "") -> float:
    """Return a number from 0 to 1, uniform over identifiers and constant for a flag and an identifier."""
    return _fraction(f"{flag_key}.{identifier}{salt}")


def is_held_out(percentage: float, identifier: str) -> bool:
    """Whether an identifier is among a percentage that is held out, the same one for all flags."""
    return percentage == 100 or _fraction(f"holdout-{identifier}") <= percentage / 100


def _fraction(text: str) -> float:
    digest = hashlib.sha1(text.encode(), usedforsecurity=False).digest()
    return (int.from_bytes(digest[:_BYTES]) >> (8 * _BYTES - _BITS)) / _SCALE


def variant_ranges(percentages: Iterable[tuple[str, float]]) -> Sequence[VariantRange]:
    """Return each variant's range, given keys and percentages in the flag's order.

    Bounds are summed in the order of the SDKs, rounding included: another order would move persons near a bound.
    """
    ranges = []
    lower = 0.0
    for key, percentage in percentages:
        upper = lower + percentage / 100
        ranges.append((key, lower, upper))
        lower = upper
    return tuple(ranges)


def pick_variant(flag_key: str, identifier: str, ranges: Sequence[VariantRange]) -> str | None:
    """Return the variant of an identifier; None where no range covers it."""
    if not ranges:
        return None
    fraction = hash_fraction(flag_key, identifier, VARIANT_SALT)
    for key, lower, upper in ranges:
        if lower <= fraction < upper:
            return key
    return None
