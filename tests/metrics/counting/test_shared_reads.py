"""Reads that queries of one answer share: the same facts as each would read alone."""

from collections.abc import Sequence, Set

import numpy as np

from app.metrics.aggregation.calendar import Window
from app.metrics.aggregation.trend import TrendCounts
from app.metrics.counting.fact_query import FactQuery
from app.metrics.counting.shared_reads import SharedReads
from app.metrics.facts.columns import WITHOUT_VALUES, Column, FactColumns
from app.metrics.facts.event_sets import event_set
from app.metrics.facts.series import EventSource
from app.properties.filters import parse_filter

VISITS = event_set([EventSource("visit", parse_filter(None))], "variant")
STORED = [(1, 100, "control"), (2, 200, "test"), (3, 300, "former"), (4, 400, "")]  # person, time, variant


def query(variants: Sequence[str], since: int) -> FactQuery[TrendCounts]:
    nothing = TrendCounts(np.zeros((0, 0)), np.zeros(0, np.int64))
    window = Window(since, 1_000, is_open=False)
    return FactQuery([VISITS], window, variants, lambda _: nothing, TrendCounts.from_bytes, "actors", ())


async def test_a_series_is_read_once_and_each_query_gets_its_own_variants_and_times() -> None:
    longer, shorter = query(["control", "test", "former"], 0), query(["control", "test"], 150)
    other, alone = query(["test", "control"], 0), query(["control", "test"], -50)
    reads, times_read = SharedReads([longer, shorter, other]), 0

    async def read(variants: Sequence[str], _columns: Set[Column], since: int) -> FactColumns:
        nonlocal times_read
        times_read += 1
        facts = [one for one in STORED if one[1] >= since]
        numbers = {"": 0, **{name: place for place, name in enumerate(variants, start=1)}}
        return FactColumns(
            np.array([one[0] for one in facts]),
            np.array([one[1] for one in facts]),
            np.array([numbers.get(one[2], len(variants) + 1) for one in facts], dtype=np.int32),
            np.full(len(facts), np.nan),
            np.arange(len(facts)),
        )

    async def of(asked: FactQuery[TrendCounts]) -> list[tuple[int, int]]:
        [part] = VISITS.parts
        found = await reads.since(part.series, asked.variants, WITHOUT_VALUES, asked.window.since, read)
        return list(zip(found.actor.tolist(), found.variant.tolist(), strict=True))

    shared = [await of(longer), await of(shorter), await of(longer)]

    assert shared == [[(1, 1), (2, 2), (3, 3), (4, 0)], [(2, 2), (3, 3), (4, 0)], [(1, 1), (2, 2), (3, 3), (4, 0)]]
    assert times_read == 1
    assert await of(other) == [(1, 2), (2, 1), (3, 3), (4, 0)]
    assert await of(alone) == [(1, 1), (2, 2), (3, 3), (4, 0)]
    assert times_read == 3  # variants in another order, and an earlier moment, are read apart
