"""Unordered funnels: the steps may happen in any order.

Every event of any step starts an attempt. The other steps count as reached when they happen later than the start and
within its conversion window. Step i of the result is the i-th that was found: actors with at least i + 1 steps, and the
time from the i-th found to the next.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.metrics.aggregation.funnel import NEVER, Actors, Attempts, ConversionWindow
from app.metrics.facts.columns import FactColumns, concatenate

Times = NDArray[np.int64]


def unordered_attempts(
    steps: Sequence[FactColumns], exclusions: Sequence[FactColumns], window: ConversionWindow
) -> Attempts:
    """Return the attempts of an unordered funnel.

    Parameters
    ----------
    steps : sequence of FactColumns
        At least one.
    exclusions : sequence of FactColumns
        Facts that disqualify an attempt when they happen after its start and before its last step, or before the end of
        its window where not all steps were found.
    """
    actors = Actors.of(concatenate([*steps, *exclusions]))
    ends = np.cumsum([len(part) for part in (*steps, *exclusions)])
    numbers = np.split(actors.number, ends[:-1])
    lookups = [_Lookup.of(number, part.time) for number, part in zip(numbers, (*steps, *exclusions), strict=True)]
    parts = [
        _attempts_from(place, number, step.time, lookups[: len(steps)], window)
        for place, (number, step) in enumerate(zip(numbers[: len(steps)], steps, strict=True))
    ]
    actor, times = np.concatenate(numbers[: len(steps)]), np.concatenate(parts, axis=1)
    start, last = times[0], times[-1]
    until = np.where(last != NEVER, last, window.ends(start))
    kept = np.ones(len(actor), dtype=np.bool_)
    for lookup in lookups[len(steps) :]:
        kept &= lookup.after(actor, start) >= until
    times = times[:, kept]
    return Attempts(actors, actor[kept], times, (times != NEVER).sum(axis=0), window)


def _attempts_from(
    place: int, actor: NDArray[np.int64], starts: Times, lookups: "Sequence[_Lookup]", window: ConversionWindow
) -> Times:
    """Return the times of the attempts that the events of one step start, int64[n, attempts], in the order of time."""
    deadline = window.ends(starts)
    rows = [starts]
    for other, lookup in enumerate(lookups):
        if other != place:
            found = lookup.after(actor, starts)
            rows.append(np.where(found <= deadline, found, NEVER))
    return np.sort(np.stack(rows), axis=0)


@dataclass(frozen=True)
class _Lookup:
    """Finds an actor's next event: events ordered by actor and time."""

    actor: NDArray[np.int64]
    time: Times

    @classmethod
    def of(cls, actor: NDArray[np.int64], time: Times) -> "_Lookup":
        order = np.lexsort((time, actor))
        return cls(actor[order], time[order])

    def after(self, actor: NDArray[np.int64], time: Times) -> Times:
        """Return the time of each actor's first event strictly later than a time; ``NEVER`` if there is none."""
        if not len(self.actor):
            return np.full(len(actor), NEVER, dtype=np.int64)
        # Both sorted together by (actor, time). The sort is stable, so that wanted times stay behind events of the same
        # moment, and the next event is the one that is looked for.
        wanted = len(actor)
        order = np.lexsort((np.concatenate((self.time, time)), np.concatenate((self.actor, actor))))
        is_event = order < len(self.actor)
        following = np.cumsum(is_event)  # events up to here: the place of the next one
        place = np.empty(wanted, dtype=np.int64)
        place[order[~is_event] - len(self.actor)] = following[~is_event]
        inside = np.minimum(place, len(self.actor) - 1)
        found = (place < len(self.actor)) & (self.actor[inside] == actor)
        return np.where(found, self.time[inside], NEVER)
