"""Persons of series, in statements that name as many of them as one may."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from app.db.bulk import chunks

# Series, and persons whose facts are wanted of each of them.
Group: TypeAlias = tuple[Sequence[int], Sequence[int]]


def statements_of(persons: Mapping[int, Sequence[int]], size: int) -> Iterator[list[Group]]:
    """Yield the groups that one statement reads: at most ``size`` persons in all of them.

    Series of which the same persons are wanted are in one group.
    """
    series: defaultdict[Sequence[int], list[int]] = defaultdict(list)
    for series_id, wanted in persons.items():
        series[tuple(wanted)].append(series_id)
    groups: list[Group] = []
    room = size
    for wanted, ids in series.items():
        for some in chunks(wanted, size):
            if len(some) > room:
                yield groups
                groups, room = [], size
            groups.append((ids, some))
            room -= len(some)
    if groups:
        yield groups
