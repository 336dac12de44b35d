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
