"""How each variant of an experiment compares with the baseline: in the target metric, and in the guardrails."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from app.experiments.scorecard.decision_criteria import MetricRole
from app.statistics.estimates import Interval
from app.statistics.results import Analysis, Code, VariantAnalysis

Scale: TypeAlias = Literal["relative", "absolute"]

_UNJUDGED: frozenset[Code] = frozenset({"not_enough_exposure", "not_enough_data"})


@dataclass(frozen=True)
class DecidedMetric:
    """A metric of an experiment: ``analysis`` is None where it cannot be analyzed, and ``detail`` says why.

    ``exposed`` are the persons whom a typed metric may count, now or later. ``cautious`` is the analysis whose
    intervals margins are held against, where that is another one: with several variants, at a level that holds for all
    of them together.
    """

    id: str
    name: str
    role: MetricRole
    analysis: Analysis | None
    detail: str = ""
    exposed: int = 0
    cautious: Analysis | None = None


@dataclass(frozen=True)
class DecisiveInterval:
    """The interval of a variant's difference that decisions rest on.

    It is relative to the baseline's mean. Where that does not exist, because the mean is zero, below zero, or too
    close to zero to divide by, it is in the metric's own unit.
    """

    scale: Scale
    ends: Interval


@dataclass(frozen=True)
class Standing:
    """How a variant compares with the baseline. ``gain`` is the observed difference, signed so that more is better."""

    key: str
    metric: DecidedMetric
    gain: float
    is_judged: bool  # there are enough data for a verdict
    is_significant: bool
    is_not_inferior: bool  # even at its worst it is not worse by more than the margin
    harmed: Sequence[DecidedMetric]  # guardrails that are worse by more than their margin
    open: Sequence[DecidedMetric]  # guardrails that may or may not be

    @property
    def is_better(self) -> bool:
        return self.is_significant and self.gain > 0

    @property
    def is_worse(self) -> bool:
        return self.is_significant and self.gain < 0

    @property
    def is_bad(self) -> bool:
        """Whether it is not better, and is worse or harms a guardrail."""
        return not self.is_better and (self.is_worse or bool(self.harmed))


def compare_variants(primary: DecidedMetric, guardrails: Sequence[DecidedMetric]) -> list[Standing]:
    """Return the standing of each variant with data, except the baseline."""
    if primary.analysis is None:
        return []
    return [_standing(primary, variant, guardrails) for variant in with_data(primary.analysis)]


def with_data(analysis: Analysis) -> list[VariantAnalysis]:
    """Return the variants with data, except the baseline."""
    return [one for one in analysis.variants if not one.is_baseline and one.sample.number_of_samples > 0]


def decisive_interval(analysis: Analysis, variant: VariantAnalysis) -> DecisiveInterval | None:
    """Return the interval that decisions rest on; None where the data determine none."""
    relative, absolute, config = variant.relative_difference, variant.difference, analysis.config
    found: list[tuple[Scale, Interval | None]]
    if config.is_sequential:
        found = [("relative", relative.sequential_interval), ("absolute", absolute.sequential_interval)]
    else:
        found = [("relative", relative.confidence_interval), ("absolute", absolute.confidence_interval)]
        if config.method == "bayesian":  # without a posterior: a mean that does not vary
            found = [("relative", relative.credible_interval), ("absolute", absolute.credible_interval), *found]
    known = (DecisiveInterval(scale, ends) for scale, ends in found if ends and all(map(math.isfinite, ends)))
    return next(known, None)


def relative_to(analysis: Analysis, interval: DecisiveInterval | None) -> Interval | None:
    """Return an interval relative to the size of the baseline's observed mean; None where that is 0."""
    if interval is None or interval.scale == "relative":
        return None if interval is None else interval.ends
    size = abs(analysis.baseline.sample.mean or 0.0)
    low, high = (end / size if size > 0 else math.inf for end in interval.ends)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


def _standing(primary: DecidedMetric, variant: VariantAnalysis, guardrails: Sequence[DecidedMetric]) -> Standing:
    key = variant.sample.key
    sign = 1 if primary.role.goal == "increase" else -1
    margins = [(metric, _distances(metric, key)) for metric in guardrails]
    own = _distances(primary, key)
    code = None if variant.decision is None else variant.decision.code
    return Standing(
        key=key,
        metric=primary,
        gain=sign * (variant.difference.estimate or 0.0),
        is_judged=code is not None and code not in _UNJUDGED,
        is_significant=code == "significant",
        is_not_inferior=own is not None and own[0] > 0,
        harmed=[metric for metric, ends in margins if ends is not None and ends[1] < 0],
        open=[metric for metric, ends in margins if ends is None or (ends[0] <= 0 <= ends[1])],
    )


def _distances(metric: DecidedMetric, key: str) -> Interval | None:
    """Return how far above its margin a variant is in a metric, at worst and at best: below zero it is harmed.

    The margin is relative to the baseline's mean. For an absolute interval it is that share of the size of the
    observed mean: nothing where the mean is 0. None where the data do not suffice for a verdict.
    """
    analysis = metric.cautious or metric.analysis
    variant = next((one for one in analysis.variants if one.sample.key == key), None) if analysis else None
    if analysis is None or variant is None or has_too_few(variant):
        return None
    interval = decisive_interval(analysis, variant)
    if interval is None:
        return None
    size = 1.0 if interval.scale == "relative" else abs(analysis.baseline.sample.mean or 0.0)
    low, high = interval.ends
    low, high = (low, high) if metric.role.goal == "increase" else (-high, -low)
    return low + metric.role.margin * size, high + metric.role.margin * size


def has_too_few(variant: VariantAnalysis) -> bool:
    """Whether there are too few persons or events for an interval to hold. A mean may still not vary."""
    code = None if variant.decision is None else variant.decision.code
    has_few_events = code == "not_enough_data" and "not-enough-metric-data" in variant.failures
    return code is None or code == "not_enough_exposure" or has_few_events
