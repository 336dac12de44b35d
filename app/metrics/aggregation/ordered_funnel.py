"""Ordered funnels: each step is the first of its events at or after the step before.

Every event of the first step starts an attempt. A step counts as reached within the conversion window, measured from
the start.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.metrics.aggregation.funnel import NEVER, Actors, Attempts, ConversionWindow
from app.metrics.facts.columns import FactColumns, concatenate


@dataclass(frozen=True)
class FunnelStep:
    """The facts of a step. ``repeats_previous``: its events count for the step before too, so it needs a later one."""

    facts: FactColumns
    repeats_previous: bool = False


@dataclass(frozen=True)
class FunnelExclusion:
    """Facts that, strictly between two steps of an attempt, disqualify it."""

    facts: FactColumns
    from_step: int
    to_step: int


def ordered_attempts(
    steps: Sequence[FunnelStep], exclusions: Sequence[FunnelExclusion], window: ConversionWindow
) -> Attempts:
    """Return the attempts of an ordered funnel.

    Parameters
    ----------
    steps : sequence of FunnelStep
        At least one.

    Notes
    -----
    Rows are the distinct moments of each actor, so events at one moment need no special case: they all happen "at or
    after" each other. Moments are numbered by ``actor * span + time``; in this order the minimum over all following
    rows is the actor's next event of a step, or belongs to a later actor and means there is none.
    """
    timeline = _Timeline.of([step.facts for step in steps] + [exclusion.facts for exclusion in exclusions])
    following, excluding = _follow(timeline, steps, exclusions)
    starts = np.flatnonzero(timeline.happened[0])
    moments = [row[starts] for row in following]
    disqualified = np.zeros(len(starts), dtype=np.bool_)
    for row, exclusion in zip(excluding, exclusions, strict=True):
        after, last, excluded = moments[exclusion.from_step], moments[exclusion.to_step], row[starts]
        until = np.where(last != NEVER, last, _window_ends(timeline, after, window))
        disqualified |= (excluded > after) & (excluded < until) & (after != NEVER)
    kept = ~disqualified
    moments = [row[kept] for row in moments]
    return Attempts(
        timeline.actors,
        timeline.actor[starts][kept],
        np.array([timeline.times(row) for row in moments]),
        _steps_reached(timeline, moments, steps, window),
        window,
    )


@dataclass(frozen=True)
class _Timeline:
    """Distinct moments of actors in ascending order, and what happened at each."""

    actors: Actors
    actor: NDArray[np.int64]  # [rows], a number of ``actors``
    moment: NDArray[np.int64]  # [rows], actor * span + time since the first event
    end: NDArray[np.int64]  # [rows], where the next actor's moments begin
    happened: NDArray[np.bool_]  # [sources, rows]
    origin: int  # time of the first event
    span: int

    @classmethod
    def of(cls, sources: Sequence[FactColumns]) -> "_Timeline":
        facts = concatenate(sources)
        source = np.repeat(np.arange(len(sources)), [len(part) for part in sources])
        actors = Actors.of(facts)
        origin = int(facts.time.min()) if len(facts) else 0
        span = int(facts.time.max()) - origin + 1 if len(facts) else 1
        if len(actors) * span >= NEVER:
            raise ValueError(f"{len(actors)} actors over {span} microseconds are too many to number their moments")
        moment, row = np.unique(actors.number * span + (facts.time - origin), return_inverse=True)
        happened = np.zeros((len(sources), len(moment)), dtype=np.bool_)
        happened[source, row] = True
        of_row = moment // span
        return cls(actors, of_row, moment, (of_row + 1) * span, happened, origin, span)

    def times(self, moments: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return microseconds since 1970 UTC of moments; ``NEVER`` stays."""
        return np.where(moments == NEVER, NEVER, moments % self.span + self.origin)


def _follow(
    timeline: _Timeline, steps: Sequence[FunnelStep], exclusions: Sequence[FunnelExclusion]
) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
    """Return the moments of the steps, and of the exclusions, that an attempt from each row would find.

    The next event of every step is looked up for every moment, then steps are dropped that would come before the one
    they follow, from the last pair of steps to the first.
    """
    count = len(steps)
    found = [np.where(row, timeline.moment, NEVER) for row in timeline.happened]
    following, excluding = found[:count], found[count:]

    def spread(first: int) -> None:
        for step in range(first, count):
            following[step] = _next(timeline, following[step], later=steps[step].repeats_previous)
        for index, exclusion in enumerate(exclusions):
            if exclusion.from_step + 1 >= first:
                excluding[index] = _next(timeline, excluding[index], later=False)

    spread(1)
    for first in range(count - 1, 1, -1):
        before = following[first - 1]
        for step in range(first, count):
            following[step] = _not_before(following[step], before)
        for index, exclusion in enumerate(exclusions):
            if exclusion.from_step + 1 >= first:
                excluding[index] = _not_before(excluding[index], following[exclusion.from_step])
        spread(first)
    return following, excluding


def _next(timeline: _Timeline, moments: NDArray[np.int64], *, later: bool) -> NDArray[np.int64]:
    """Return the earliest of the moments at each row and the rows after it (``later``: only after it)."""
    nearest = np.minimum.accumulate(moments[::-1])[::-1]
    if later:
        nearest = np.append(nearest[1:], NEVER)
    return np.where(nearest < timeline.end, nearest, NEVER)


def _not_before(moments: NDArray[np.int64], before: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.where((before != NEVER) & (moments < before), NEVER, moments)


def _window_ends(timeline: _Timeline, moments: NDArray[np.int64], window: ConversionWindow) -> NDArray[np.int64]:
    """Return the moment at which the window of each moment ends; ``NEVER`` for those that never come."""
    ends = np.full(len(moments), NEVER, dtype=np.int64)
    is_known = moments != NEVER
    times = timeline.times(moments[is_known])
    ends[is_known] = moments[is_known] + (window.ends(times) - times)
    return ends


def _steps_reached(
    timeline: _Timeline, moments: Sequence[NDArray[np.int64]], steps: Sequence[FunnelStep], window: ConversionWindow
) -> NDArray[np.int64]:
    deadline = _window_ends(timeline, moments[0], window)
    reached = np.ones(len(moments[0]), dtype=np.int64)
    going_on = np.ones(len(moments[0]), dtype=np.bool_)
    for step in range(1, len(moments)):
        before, now = moments[step - 1], moments[step]
        in_order = now > before if steps[step].repeats_previous else now >= before
        going_on &= (now != NEVER) & in_order & (now <= deadline)
        reached += going_on
    return reached
