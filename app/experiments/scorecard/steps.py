"""The steps of an analysis over time: days, or the weeks or months that they form."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from app.common.errors import ValidationFailed
from app.metrics.aggregation.calendar import Ticks

StepInterval: TypeAlias = Literal["day", "week", "month"]

STEP_INTERVALS: Final[tuple[StepInterval, ...]] = get_args(StepInterval)
USUAL_POINTS: Final = 400  # where the request names no interval
MOST_POINTS: Final = 1_000  # a few seconds of work

_SECONDS_OF_A_DAY: Final = 86_400
_DAYS_OF_A_WEEK: Final = 7
_SUNDAY: Final = 4  # days from a Sunday to 1970-01-01


@dataclass(frozen=True)
class Steps:
    """Consecutive steps of one interval.

    Attributes
    ----------
    ends : sequence of int
        The last tick of each step, ascending. The last step ends with the last tick.
    """

    interval: StepInterval
    ends: Sequence[int]

    def thinned(self, limit: int) -> "Steps":
        """Return every n-th step, counted back from the last, so that there are at most ``limit``."""
        stride = -(-len(self.ends) // limit)
        return Steps(self.interval, self.ends[(len(self.ends) - 1) % stride :: stride])


def read_interval(text: str | None) -> StepInterval | None:
    """Return the interval that a request names, if any.

    Raises
    ------
    ValidationFailed
        When it is not known.
    """
    if text is None:
        return None
    known = next((known for known in STEP_INTERVALS if known == text), None)
    if known is None:
        detail = f"interval must be one of {', '.join(STEP_INTERVALS)}, got {text[:100]!r}"
        raise ValidationFailed(detail, attr="interval")
    return known


def choose_steps(ticks: Ticks, interval: StepInterval | None = None) -> Steps:
    """Return the steps of an interval; without one, of the shortest that has at most ``USUAL_POINTS``.

    Parameters
    ----------
    ticks
        Days; in an experiment of many years, weeks or months, which cannot be divided.

    Raises
    ------
    ValidationFailed
        When the interval that was asked for has more than ``MOST_POINTS`` steps, or is too short for the ticks.
    """
    shortest: StepInterval = next(known for known in STEP_INTERVALS if known in (ticks.interval, STEP_INTERVALS[-1]))
    possible = STEP_INTERVALS[STEP_INTERVALS.index(shortest) :]
    usual = next((one for one in possible if len(_ends(ticks, one)) <= USUAL_POINTS), STEP_INTERVALS[-1])
    if interval is None:
        return Steps(usual, _ends(ticks, usual)).thinned(USUAL_POINTS)
    ends = _ends(ticks, interval) if interval in possible else range(MOST_POINTS + 1)
    if len(ends) > MOST_POINTS:
        detail = f"The experiment has more than {MOST_POINTS:,} {interval}s: choose the interval {usual}."
        raise ValidationFailed(detail, attr="interval")
    return Steps(interval, ends)


def _ends(ticks: Ticks, interval: StepInterval) -> list[int]:
    steps = _step_numbers(ticks, interval)
    return [*np.flatnonzero(np.diff(steps)).tolist(), len(steps) - 1]


def _step_numbers(ticks: Ticks, interval: StepInterval) -> NDArray[np.int64]:
    """Return the number of the step that each tick lies in: weeks begin on Sunday."""
    days = ticks.clock // _SECONDS_OF_A_DAY
    if interval == "week":
        return (days + _SUNDAY) // _DAYS_OF_A_WEEK
    return days.astype("M8[D]").astype("M8[M]").astype(np.int64) if interval == "month" else days
