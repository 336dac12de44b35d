"""How many items fit into a page or a piece of work."""

from collections.abc import Iterable
from itertools import accumulate

from app.common import limits


def fitting(sizes: Iterable[int], limit: int | None = None) -> int:
    """Return how many items, from the first on, have at most ``limit`` bytes together; at least one, if there is any.

    The limit is ``limits.PAGE_BYTES``, unless another is given.
    """
    most = limits.PAGE_BYTES.value if limit is None else limit
    totals = list(accumulate(sizes))
    return max(sum(total <= most for total in totals), min(len(totals), 1))


def pieces(sizes: Iterable[int], limit: int) -> list[int]:
    """Return how many of the items, one after the other, each piece of at most ``limit`` bytes has; at least one."""
    counts: list[int] = []
    total = 0
    for size in sizes:
        total += size
        if total > limit or not counts:
            counts.append(0)
            total = size
        counts[-1] += 1
    return counts
