"""Funnels whose steps follow each other in another way: strictly, with nothing in between, or in any order.

Strict: from a start, step i is the actor's i-th next event, whatever events there are, or it is not reached. Unordered:
any step may be the start; the others count if they happen later than the start and within its window. An actor's result
is that of its best start, and its variant the one it named first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.metrics.aggregation.conversion_times import ConversionTimes
from app.metrics.aggregation.funnel import NEVER, ConversionWindow, FunnelCounts, Tries, average_and_median
from app.metrics.facts.columns import NO_VARIANT, FactColumns, concatenate

_SECOND = 1_000_000  # microseconds

Times = NDArray[np.int64]


@dataclass(frozen=True)
class _Tries:
    """Starts, and what followed each. ``times`` has a row for each step, in the order of time; never if not found."""

    actor: NDArray[np.int64]
    times: NDArray[np.int64]  # [steps, tries]
    reached: NDArray[np.int64]  # [tries]

    def attributed(self, facts: FactColumns) -> Tries:
        """Return the tries, each actor under the variant that it names first in some facts."""
        actors, actor = np.unique(self.actor, return_inverse=True)
        is_reached = np.arange(len(self.times))[:, np.newaxis] < self.reached
        return Tries(actor, np.where(is_reached, self.times, NEVER), *_first_touch(facts, actors))


def aggregate_strict_funnel(
    steps: Sequence[FactColumns], neighbors: FactColumns, window: ConversionWindow, variant_count: int
) -> FunnelCounts:
    """Count a funnel whose steps follow each other without any other event of the actor in between.

    Parameters
    ----------
    steps : sequence of FactColumns
        At least one. Steps are told by the sequence numbers of their events.
    neighbors : FactColumns
        All events of the actors inside the window, of whatever name: a series of one source without a name and filter.
        Events at one moment follow each other in the order of arrival. The variants that they name count, too.
    """
    return _summarize(_follow_strictly(steps, neighbors, window), window, neighbors, variant_count)


def strict_tries(steps: Sequence[FactColumns], neighbors: FactColumns, window: ConversionWindow) -> Tries:
    """Return the tries that ``aggregate_strict_funnel`` counts."""
    return _follow_strictly(steps, neighbors, window).attributed(neighbors)


def _follow_strictly(steps: Sequence[FactColumns], neighbors: FactColumns, window: ConversionWindow) -> _Tries:
    if not steps:
        raise ValueError("a funnel needs at least one step, got none")
    order = np.lexsort((neighbors.sequence, neighbors.time, neighbors.actor))
    facts = neighbors.select(order)
    times = np.full((len(steps), len(facts)), NEVER, dtype=np.int64)
    for place, step in enumerate(steps):
        # The row ``place`` further on, if it is the same actor's and belongs to the step.
        count = max(len(facts) - place, 0)
        later = slice(place, place + count)
        fits = np.isin(facts.sequence[later], step.sequence) & (facts.actor[later] == facts.actor[:count])
        times[place, :count] = np.where(fits, facts.time[later], NEVER)
    starts = np.flatnonzero(times[0] != NEVER)
    times = times[:, starts]
    in_time = (times != NEVER) & (times <= window.ends(times[0]))
    reached = np.cumprod(in_time, axis=0).sum(axis=0)
    return _Tries(facts.actor[starts], times, reached)


def aggregate_unordered_funnel(
    steps: Sequence[FactColumns], exclusions: Sequence[FactColumns], window: ConversionWindow, variant_count: int
) -> FunnelCounts:
    """Count a funnel whose steps may happen in any order.

    Row i of the result tells of actors with at least i + 1 steps, and of the time from the i-th found to the next.

    Parameters
    ----------
    steps : sequence of FactColumns
        At least one.
    exclusions : sequence of FactColumns
        Facts that disqualify a start when they happen after it and before its last step, or before the end of its
        window where not all steps were found.
    """
    tries = _follow_in_any_order(steps, exclusions, window)
    return _summarize(tries, window, concatenate([*steps, *exclusions]), variant_count)


def unordered_tries(steps: Sequence[FactColumns], exclusions: Sequence[FactColumns], window: ConversionWindow) -> Tries:
    """Return the tries that ``aggregate_unordered_funnel`` counts."""
    return _follow_in_any_order(steps, exclusions, window).attributed(concatenate([*steps, *exclusions]))


def _follow_in_any_order(
    steps: Sequence[FactColumns], exclusions: Sequence[FactColumns], window: ConversionWindow
) -> _Tries:
    if not steps:
        raise ValueError("a funnel needs at least one step, got none")
    lookups = [_Lookup.of(step) for step in steps]
    tries = [_rotation(steps, lookups, first, window) for first in range(len(steps))]
    together = _Tries(
        np.concatenate([one.actor for one in tries]),
        np.concatenate([one.times for one in tries], axis=1),
        np.concatenate([one.reached for one in tries]),
    )
    allowed = np.ones(len(together.actor), dtype=np.bool_)
    start, last = together.times[0], together.times[-1]
    until = np.where(last != NEVER, last, window.ends(start) if len(start) else last)
    for exclusion in exclusions:
        allowed &= _Lookup.of(exclusion).after(together.actor, start) >= until
    return _Tries(together.actor[allowed], together.times[:, allowed], together.reached[allowed])


def _rotation(
    steps: Sequence[FactColumns], lookups: "Sequence[_Lookup]", first: int, window: ConversionWindow
) -> _Tries:
    start = steps[first]
    deadline = window.ends(start.time)
    rows = [start.time]
    for place, lookup in enumerate(lookups):
        if place != first:
            found = lookup.after(start.actor, start.time)
            rows.append(np.where(found <= deadline, found, NEVER))
    times = np.sort(np.stack(rows), axis=0)
    return _Tries(start.actor, times, (times != NEVER).sum(axis=0))


@dataclass(frozen=True)
class _Lookup:
    """Finds an actor's next event: events ordered by actor and time."""

    actor: NDArray[np.int64]
    time: NDArray[np.int64]

    @classmethod
    def of(cls, facts: FactColumns) -> "_Lookup":
        order = np.lexsort((facts.time, facts.actor))
        return cls(facts.actor[order], facts.time[order])

    def after(self, actor: NDArray[np.int64], time: Times) -> Times:
        """Return the time of each actor's first event strictly later than a time; never if there is none."""
        if not len(self.actor):
            return np.full(len(actor), NEVER, dtype=np.int64)
        # Both sorted together by (actor, time), lookups behind events of the same moment: the next event is the answer.
        asked = len(actor)
        order = np.lexsort(
            (
                np.concatenate((np.zeros(len(self.actor)), np.ones(asked))),
                np.concatenate((self.time, time)),
                np.concatenate((self.actor, actor)),
            )
        )
        is_event = order < len(self.actor)
        following = np.cumsum(is_event)  # events up to here: the place of the next one
        place = np.empty(asked, dtype=np.int64)
        place[order[~is_event] - len(self.actor)] = following[~is_event]
        inside = np.minimum(place, len(self.actor) - 1)
        found = (place < len(self.actor)) & (self.actor[inside] == actor)
        return np.where(found, self.time[inside], NEVER)


def _summarize(tries: _Tries, window: ConversionWindow, facts: FactColumns, variant_count: int) -> FunnelCounts:
    actors, actor = np.unique(tries.actor, return_inverse=True)
    variant, _ = _first_touch(facts, actors)
    best = np.zeros(len(actors), dtype=np.int64)
    np.maximum.at(best, actor, tries.reached)
    step_count = len(tries.times)
    reached = np.zeros((variant_count + 2, step_count), dtype=np.int64)
    for step in range(step_count):
        reached[:, step] = np.bincount(variant[best > step], minlength=variant_count + 2)
    times: list[list[ConversionTimes]] = [[] for _ in range(variant_count)]
    is_best = tries.reached == best[actor]
    for step in range(1, step_count):
        seconds = _seconds(tries.times[step - 1][is_best], tries.times[step][is_best], window)
        measured = ~np.isnan(seconds)
        found, average, median = average_and_median(actor[is_best][measured], seconds[measured])
        for slot, row in enumerate(times, start=1):
            of_variant = variant[found] == slot
            row.append(ConversionTimes.of(average[of_variant], median[of_variant]))
    return FunnelCounts(reached, times)


def _first_touch(facts: FactColumns, actors: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the variant that each actor names first, and when."""
    named = facts.select(facts.variant != NO_VARIANT)
    order = np.lexsort((named.sequence, named.time, named.actor))
    found, first = np.unique(named.actor[order], return_index=True)
    variant, moment = np.full(len(actors), NO_VARIANT, dtype=np.int32), np.zeros(len(actors), dtype=np.int64)
    known = np.isin(found, actors)
    place = np.searchsorted(actors, found[known])
    variant[place], moment[place] = named.variant[order][first[known]], named.time[order][first[known]]
    return variant, moment


def _seconds(before: Times, now: Times, window: ConversionWindow) -> NDArray[np.float64]:
    """Return whole seconds between two steps that follow each other within a window; nan for others."""
    found = (before != NEVER) & (now != NEVER)
    in_time = found.copy()
    in_time[found] = now[found] <= window.ends(before[found])
    return np.where(in_time, (now // _SECOND - before // _SECOND).astype(np.float64), np.nan)
