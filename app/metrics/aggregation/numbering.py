"""Numbers for actors: by a table where their ids lie close together, as those of persons do, and else by sorting."""

import numpy as np
from numpy.typing import NDArray

# A table has at most this many places for each key: it is faster than sorting up to about fifty.
_PLACES_PER_KEY = 16


def numbered(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct keys in ascending order, and the place of each key among them.

    It is ``np.unique`` with ``return_inverse``, at a tenth of the cost where keys are dense.
    """
    found = _table_of(keys)
    if found is None:
        distinct, place = np.unique(keys, return_inverse=True)
        return distinct, place.astype(np.int64, copy=False)
    lowest, places, offsets = found
    is_present = np.zeros(places, dtype=np.bool_)
    is_present[offsets] = True
    return np.flatnonzero(is_present) + lowest, (np.cumsum(is_present) - 1)[offsets]


def _table_of(keys: NDArray[np.int64]) -> tuple[int, int, NDArray[np.int64]] | None:
    """Return the lowest key, the places of a table from it on, and the place of each key; None where it is too long."""
    if not len(keys):
        return 0, 0, keys
    lowest = int(keys.min())
    places = int(keys.max()) - lowest + 1
    return None if places > _PLACES_PER_KEY * len(keys) else (lowest, places, keys - lowest)


def lowest_of_each(keys: NDArray[np.int64], values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the lowest value of each distinct key, in the order of the keys; values are below the largest integer."""
    found = _table_of(keys)
    if found is None:
        distinct, place = numbered(keys)
        return first_of(place, values, len(distinct))
    _, places, offsets = found
    lowest = first_of(offsets, values, places)
    return np.asarray(lowest[lowest != np.iinfo(np.int64).max])


def count_distinct(keys: NDArray[np.int64]) -> int:
    """Return how many different keys there are."""
    distinct, _ = numbered(keys)
    return len(distinct)


def first_of(number: NDArray[np.int64], values: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return the lowest value of each number from 0 to ``count``; the largest integer for one without values."""
    lowest = np.full(count, np.iinfo(np.int64).max, dtype=np.int64)
    np.minimum.at(lowest, number, values)
    return lowest
