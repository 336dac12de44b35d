"""How far an experiment is on its way to a decision, and how long the rest takes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from app.experiments.scorecard.decision_criteria import Criteria
from app.experiments.scorecard.standings import DecidedMetric, decisive_interval, has_too_few, relative_to, with_data
from app.statistics.results import Analysis

# A longer time left is not estimated: traffic and product change meanwhile.
LONGEST_DAYS = 3650


@dataclass(frozen=True)
class Progress:
    """The progress of an experiment towards a decision.

    Attributes
    ----------
    precision : float
        From 0 to 1: the square of the target effect over half the width of the current relative interval; 0 while
        there are too few data for one that holds.
    exposed : float
        Persons who were analyzed.
    runtime : float
        Days since the start.
    days_left : int or None
        Until the precision and the minimum running time are reached, at the current pace; None when that cannot be
        estimated, or is more than ten years.
    takes_too_long : bool
        Whether it is more than ten years.
    """

    precision: float
    exposed: float
    runtime: float
    days_left: int | None = None
    takes_too_long: bool = False


def describe_uncounted(exposed: int, unit: str) -> str:
    """Say that a typed metric counts none of the exposed persons yet."""
    return (
        f"{exposed:,} {unit} were exposed, and not one is counted yet: they have not started, or their window is not "
        "over."
    )


def measure_progress(primary: DecidedMetric | None, criteria: Criteria, runtime: float) -> Progress:
    """Return the precision of a primary metric, and the days it still needs at the current pace."""
    if primary is None or primary.analysis is None:
        return Progress(0.0, 0.0, runtime)
    analysis = primary.analysis
    exposed = sum(variant.sample.number_of_samples for variant in analysis.variants)
    precision = None if any(map(has_too_few, with_data(analysis))) else _precision(analysis, criteria)
    if precision is None:
        return Progress(0.0, exposed, runtime)
    if precision <= 0 or runtime <= 0:
        return Progress(precision, exposed, runtime, takes_too_long=runtime > 0)
    days = max(runtime * (1 / precision - 1), criteria.minimum_runtime - runtime, 0.0)
    if days > LONGEST_DAYS:
        return Progress(precision, exposed, runtime, takes_too_long=True)
    return Progress(precision, exposed, runtime, math.ceil(days))


def _precision(analysis: Analysis, criteria: Criteria) -> float | None:
    """Return the precision of the least precise variant; None where one has no interval."""
    widths: Sequence[float | None] = [
        None if interval is None else (interval[1] - interval[0]) / 2
        for interval in (relative_to(analysis, decisive_interval(analysis, one)) for one in with_data(analysis))
    ]
    known = [width for width in widths if width is not None]
    if not known or len(known) < len(widths):
        return None
    widest = max(known)
    return min(1.0, (criteria.target_effect / widest) ** 2) if widest > 0 else 1.0
