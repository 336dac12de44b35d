"""Retention: who came back in a later period after they had started something."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.metrics.aggregation.calendar import Ticks
from app.metrics.aggregation.funnel import NEVER, ConversionWindow
from app.metrics.aggregation.ledger import Ledger
from app.metrics.facts.columns import FactColumns

StartHandling: TypeAlias = Literal["first_seen", "last_seen"]
Times: TypeAlias = NDArray[np.int64]

NO_EVENT = -1


@dataclass(frozen=True)
class RetentionWindow:
    """How long after the start a person has to come back: from ``first`` to ``last`` units, both included.

    Days and hours are those of the calendar: with 1 to 1 days, on the next day. Other units are spans of time from the
    moment of the start on.

    Attributes
    ----------
    calendar : Ticks or None
        The days or hours of a project's time zone, from before the first start to after the last moment that counts.
    """

    first: int
    last: int
    unit: Literal["second", "minute", "hour", "day", "week", "month"]
    calendar: Ticks | None = None

    def holds(self, starts: Times, times: Times) -> NDArray[np.bool_]:
        """Return whether each time lies in the window of its start."""
        if self.calendar is not None:
            later = self.calendar.bucket(times) - self.calendar.bucket(starts)
            return (later >= self.first) & (later <= self.last)
        earliest, latest = (ConversionWindow(count, self.unit).ends(starts) for count in (self.first, self.last))
        return (times >= earliest) & (times <= latest)

    def ends(self, starts: Times) -> Times:
        """Return the moment from which on no later event can count for each start."""
        if self.calendar is None:
            return ConversionWindow(self.last, self.unit).ends(starts) + 1
        following = self.calendar.bucket(starts) + self.last + 1
        return self.calendar.starts[np.minimum(following, len(self.calendar) - 1)]


def find_starts(
    row: NDArray[np.int64], events: FactColumns, persons: int, handling: StartHandling
) -> tuple[Times, Times]:
    """Return the time and the sequence number of each person's first or last event; ``NEVER`` where there is none."""
    order = np.lexsort((events.sequence, events.time, row))
    if handling == "last_seen":
        order = order[::-1]
    first, place = np.unique(row[order], return_index=True)
    time, sequence = np.full(persons, NEVER, dtype=np.int64), np.full(persons, NO_EVENT, dtype=np.int64)
    time[first], sequence[first] = events.time[order][place], events.sequence[order][place]
    return time, sequence


def find_returns(
    ledger: Ledger, starts: tuple[Times, Times], exposing: Times, completions: FactColumns, window: RetentionWindow
) -> Times:
    """Return when each person came back, ``NEVER`` where they did not.

    Neither the event of the start is a return, nor the one that exposed the person, also where both happen at once.
    ``exposing`` has its sequence number.
    """
    time, sequence = starts
    returned = np.full(len(ledger), NEVER, dtype=np.int64)
    if not len(ledger):
        return returned
    row, is_exposed = ledger.rows_of(completions)
    counts = is_exposed & (time[row] != NEVER) & (completions.sequence != sequence[row])
    counts &= completions.sequence != exposing[row]
    row, events = row[counts], completions.select(counts)
    counts = window.holds(time[row], events.time) & (events.time >= time[row])
    np.minimum.at(returned, row[counts], events.time[counts])
    return returned
