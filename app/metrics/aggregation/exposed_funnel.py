"""Funnels from the exposure on: the exposure is the first step, and every exposed person enters."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.metrics.aggregation.calendar import Ticks
from app.metrics.aggregation.funnel import NEVER
from app.metrics.aggregation.funnel_by_day import AdjustedProgress, FunnelProgress
from app.metrics.aggregation.ledger import Ledger
from app.metrics.facts.columns import FactColumns

Times = NDArray[np.int64]


def ordered_times(ledger: Ledger, steps: Sequence[tuple[NDArray[np.int64], FactColumns]]) -> list[Times]:
    """Return when each person reached each step, int64[n] a step: ``NEVER`` where they did not.

    Each step takes the earliest event after that of the step before, by time and then by arrival, so that one event is
    never two steps. That is as far as a person can get, because all steps have the same deadline.

    Parameters
    ----------
    steps
        The events of each step that count for their person, with the person's row.
    """
    time, sequence = ledger.time, np.full(len(ledger), -1, dtype=np.int64)
    found = []
    for row, events in steps:
        after = (events.time > time[row]) | ((events.time == time[row]) & (events.sequence > sequence[row]))
        after &= time[row] != NEVER
        rows, times, arrivals = row[after], events.time[after], events.sequence[after]
        order = np.lexsort((arrivals, times, rows))
        first, start = np.unique(rows[order], return_index=True)
        time, sequence = np.full(len(ledger), NEVER, dtype=np.int64), np.full(len(ledger), -1, dtype=np.int64)
        time[first], sequence[first] = times[order][start], arrivals[order][start]
        found.append(time)
    return found


def unordered_times(ledger: Ledger, steps: Sequence[tuple[NDArray[np.int64], FactColumns]]) -> list[Times]:
    """Return when each person had done one, two, ... of the steps, in whatever order."""
    first = np.full((len(steps), len(ledger)), NEVER, dtype=np.int64)
    for times, (row, events) in zip(first, steps, strict=True):
        np.minimum.at(times, row, events.time)
    return list(np.sort(first, axis=0))


def count_reached(
    ledger: Ledger, entry: Times, times: Sequence[Times], ticks: Ticks, variant_count: int
) -> FunnelProgress:
    """Count the persons of each variant who entered, and those who reached each step.

    Parameters
    ----------
    entry : int64[n]
        From when on each person is counted; ``NEVER`` for those who are not.
    """
    reached = np.zeros((len(times) + 1, variant_count, len(ticks)), dtype=np.int64)
    for counts, moments in zip(reached, [entry, *times], strict=True):
        got_there = (moments != NEVER) & (entry != NEVER)
        buckets = ticks.bucket(np.maximum(moments, entry)[got_there])
        np.add.at(counts, (ledger.slot[got_there], buckets), 1)
    return FunnelProgress(reached)


def count_again(
    ledger: Ledger, entry: Times, times: Sequence[Times], before: NDArray[np.bool_], ticks: Ticks, variant_count: int
) -> AdjustedProgress:
    """Count as ``count_reached``, also those persons who had done all steps ``before``."""
    whole = count_reached(ledger, entry, times, ticks, variant_count)
    own = ledger.select(before)
    again = count_reached(own, entry[before], [times[-1][before]], ticks, variant_count)
    return AdjustedProgress(whole.reached, again.reached)
