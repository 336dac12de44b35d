"""Aggregations of trends that need more than a bucket's events: activity over days, and sessions."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypeIs

from app.metrics.aggregation.calendar import Ticks
from app.metrics.facts.columns import NO_VARIANT, FactColumns

ActivityMath: TypeAlias = Literal["weekly_active", "monthly_active", "unique_group", "unique_session"]

# Days before a day on which an event makes its actor active on that day, as in PostHog of 2022: with the day itself,
# one short of a week and of 30 days.
TRAILING_DAYS: dict[ActivityMath, int] = {"weekly_active": 5, "monthly_active": 28}


def is_activity_math(name: str | None) -> TypeIs[ActivityMath]:
    """Whether a name is that of an activity aggregation."""
    return name in get_args(ActivityMath)


@dataclass(frozen=True)
class Days:
    """The calendar days of a window in a project's time zone, and on which of them the project has any event."""

    ticks: Ticks
    busy: NDArray[np.bool_]


def active_actors(
    facts: FactColumns, ticks: Ticks, days: Days, trailing: int, variant_count: int
) -> NDArray[np.float64]:
    """Count the actors that were active on each day or shortly before it.

    Parameters
    ----------
    days : Days
        Days without any event of the project count as 0.
    trailing : int
        Days before a day that count for it too.

    Returns
    -------
    numpy.ndarray of shape (variant_count, len(ticks))
        Distinct actors of each day, summed where a bucket holds several days.
    """
    known = _known(facts, variant_count)
    slot = known.variant.astype(np.int64) - 1
    triples = np.unique(np.stack((slot, known.actor, days.ticks.bucket(known.time))), axis=1)
    starts = triples[2]
    # Active from an event's day on, for the trailing days or until the actor's next active day.
    ends = np.minimum(starts + trailing + 1, len(days.busy))
    same_actor = (triples[0, 1:] == triples[0, :-1]) & (triples[1, 1:] == triples[1, :-1])
    ends[:-1] = np.where(same_actor, np.minimum(ends[:-1], starts[1:]), ends[:-1])
    changes = np.zeros((variant_count, len(days.busy) + 1), dtype=np.int64)
    np.add.at(changes, (triples[0], starts), 1)
    np.add.at(changes, (triples[0], ends), -1)
    active = np.where(days.busy, np.cumsum(changes, axis=1)[:, :-1], 0)
    # The first bucket may begin in the middle of the first day, which belongs to it all the same.
    bucket = np.maximum(ticks.bucket(days.ticks.starts), 0)
    values = np.zeros((variant_count, len(ticks)))
    for row in range(variant_count):
        values[row] = np.bincount(bucket, weights=active[row], minlength=len(ticks))
    return values


def once_per_bucket(facts: FactColumns, ticks: Ticks) -> FactColumns:
    """Return one fact for each actor, variant and bucket: a session's duration counts once."""
    keys = np.stack((facts.variant.astype(np.int64), ticks.bucket(facts.time), facts.actor))
    _, first = np.unique(keys, axis=1, return_index=True)
    return facts.select(first)


def _known(facts: FactColumns, variant_count: int) -> FactColumns:
    return facts.select((facts.variant > NO_VARIANT) & (facts.variant <= variant_count))
