"""The facts of series that several fact queries of one answer count: each series is read once."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np

from app.metrics.counting.fact_query import FactQuery
from app.metrics.facts.columns import WITHOUT_VALUES, Column, FactColumns
from app.metrics.facts.series import SeriesDefinition

# Reads the facts of a series from a moment on: numbered by some variants, with some columns.
ReadSince: TypeAlias = Callable[[Sequence[str], Set[Column], int], Awaitable[FactColumns]]


@dataclass
class _Wanted:
    """What all queries together read of a series, which ``queries`` counts."""

    queries: int = 0
    variants: Sequence[str] = ()
    columns: Set[Column] = frozenset()
    since: int = 2**63 - 1
    facts: FactColumns | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class SharedReads:
    """Reads what several queries count once, as of one high-water mark: facts before it do not change.

    A series is shared by the queries whose variants are the first ones of the longest list, as those of exposures are
    that number former variants after the present ones.
    """

    def __init__(self, queries: Sequence[FactQuery[Any]] = ()) -> None:
        self._wanted: defaultdict[str, _Wanted] = defaultdict(_Wanted)
        for query in queries:
            for event_set in query.event_sets:
                for part in event_set.parts:
                    wanted = self._wanted[part.series.digest]
                    wanted.queries += 1
                    wanted.variants = max(wanted.variants, query.variants, key=len)
                    wanted.columns |= query.columns if event_set.only_series is not None else WITHOUT_VALUES
                    wanted.since = min(wanted.since, query.window.since - event_set.padding)

    async def since(
        self,
        series: SeriesDefinition,
        variants: Sequence[str],
        columns: Set[Column],
        since: int,
        read: ReadSince,
    ) -> FactColumns:
        """Return the facts of a series from a moment on, read before or now."""
        wanted = self._wanted.get(series.digest)
        is_shared = (
            wanted is not None
            and wanted.queries > 1
            and list(wanted.variants[: len(variants)]) == list(variants)
            and columns <= wanted.columns | {"value"}
            and since >= wanted.since
        )
        if wanted is None or not is_shared:
            return await read(variants, columns, since)
        async with wanted.lock:
            if wanted.facts is None:
                wanted.facts = await read(wanted.variants, wanted.columns | columns, wanted.since)
        return narrowed(wanted.facts, len(variants), since)


def narrowed(facts: FactColumns, variant_count: int, since: int) -> FactColumns:
    """Return facts from a moment on, with the later variants as others."""
    is_within = facts.time >= since
    facts = facts if is_within.all() else facts.select(is_within)
    return replace(facts, variant=np.minimum(facts.variant, np.int32(variant_count + 1)))
