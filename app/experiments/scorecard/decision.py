"""The decision rule: a recommendation from the analyses of an experiment, with its reasons.

The rule uses anytime-valid intervals unless the experiment's ``stats_config`` says otherwise, so it may be applied
every day. As long as the data do not decide, the recommendation is "keep running".
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from app.experiments.scorecard.decision_criteria import Criteria, MetricRole
from app.statistics.estimates import Interval
from app.statistics.frequentist.sample_ratio import SampleRatio
from app.statistics.results import Analysis, VariantAnalysis

Recommendation: TypeAlias = Literal["ship", "rollback", "keep_running", "review", "blocked"]

# Longer estimates of the time left are cut to this: they mean no more than "too long".
_MAX_DAYS = 3650


@dataclass(frozen=True)
class DecidedMetric:
    """A metric of an experiment: ``analysis`` is None where it cannot be analyzed, and ``detail`` says why."""

    id: str
    name: str
    role: MetricRole
    analysis: Analysis | None
    detail: str = ""


@dataclass(frozen=True)
class Reason:
    code: str
    metric_id: str | None
    detail: str


@dataclass(frozen=True)
class Progress:
    """The progress of an experiment towards a decision.

    Attributes
    ----------
    precision : float
        From 0 to 1: the square of the target effect over half the width of the current relative interval.
    exposed : float
        Persons who were analyzed.
    runtime : float
        Days since the start.
    days_left : int or None
        Until the precision and the minimum running time are reached, at the current pace and at most ten years; None
        when that cannot be estimated.
    """

    precision: float
    exposed: float
    runtime: float
    days_left: int | None


@dataclass(frozen=True)
class Decision:
    recommendation: Recommendation
    variant: str | None
    reasons: Sequence[Reason]
    progress: Progress


def decide(
    primary: DecidedMetric | None,
    guardrails: Sequence[DecidedMetric],
    sample_ratio: SampleRatio | None,
    criteria: Criteria,
    runtime: float,
    *,
    is_over: bool = False,
) -> Decision:
    """Return the recommendation for an experiment.

    Parameters
    ----------
    sample_ratio
        The test of the exposed persons against the planned split; None where it does not apply.
    runtime
        Days since the start, until the end where there is one.
    is_over
        Whether the experiment has ended: then waiting is no option.
    """
    progress = measure_progress(primary, criteria, runtime)
    if is_over:
        progress = replace(progress, days_left=None)
    decision = _decide(primary, guardrails, sample_ratio, criteria, progress)
    if is_over and decision.recommendation == "keep_running":
        ended = Reason("ended", None, "The experiment has ended, and its data do not decide it.")
        return Decision("review", None, [ended, *decision.reasons], progress)
    return decision


def _decide(
    primary: DecidedMetric | None,
    guardrails: Sequence[DecidedMetric],
    sample_ratio: SampleRatio | None,
    criteria: Criteria,
    progress: Progress,
) -> Decision:
    blocking = _blocking(primary, sample_ratio)
    if blocking or primary is None or primary.analysis is None:
        return Decision("blocked", None, blocking, progress)
    standings = [_standing(primary, variant, guardrails) for variant in _with_data(primary.analysis)]
    if standings and all(one.is_bad for one in standings):
        return Decision("rollback", primary.analysis.baseline.sample.key, _reasons(standings), progress)
    if progress.runtime < criteria.minimum_runtime:
        detail = f"It has run for {progress.runtime:.1f} of at least {criteria.minimum_runtime:g} days."
        return Decision("keep_running", None, [Reason("minimum_runtime", None, detail)], progress)
    return _choose(standings, criteria, progress, primary)


def _choose(
    standings: Sequence["_Standing"], criteria: Criteria, progress: Progress, primary: DecidedMetric
) -> Decision:
    """Decide between variants after the minimum running time, at least one of which is not bad."""
    winners = [one for one in standings if one.is_better]
    best = max(winners, key=lambda one: one.gain, default=None)
    shippable = [one for one in winners if not one.harmed and (criteria.preset == "clear_signals" or not one.open)]
    if shippable:
        chosen = max(shippable, key=lambda one: one.gain)
        return Decision("ship", chosen.key, _reasons([chosen]), progress)
    if best is not None:
        # The variant is better, but a guardrail is harmed, or may be.
        if best.harmed:
            return Decision("review", best.key, _reasons([best]), progress)
        return Decision("keep_running", None, _reasons([best]), progress)
    if progress.precision < 1:
        return Decision("keep_running", None, [*_reasons(standings), _not_precise(progress, criteria)], progress)
    harmless = [one for one in standings if not one.is_bad and not one.open and one.is_not_inferior]
    if criteria.preset == "do_no_harm" and harmless:
        chosen = max(harmless, key=lambda one: one.gain)
        detail = (
            f"{chosen.key} does no harm: it is not worse than the baseline by more than {primary.role.margin:.1%} in "
            f"{primary.name}, nor by more than is allowed in any guardrail."
        )
        return Decision("ship", chosen.key, [Reason("no_harm", primary.id, detail)], progress)
    detail = (
        f"The data are precise enough to show a change of {criteria.target_effect:.1%} in {primary.name}, "
        "but there is no clear effect: whether to ship depends on cost and preference."
    )
    return Decision("review", None, [*_reasons(standings), Reason("no_clear_effect", primary.id, detail)], progress)


@dataclass(frozen=True)
class _Standing:
    """How a variant compares with the baseline. ``gain`` is the observed difference, signed so that more is better."""

    key: str
    metric: DecidedMetric
    gain: float
    is_significant: bool
    is_not_inferior: bool  # even at its worst it is not worse by more than the margin
    harmed: Sequence[DecidedMetric]  # guardrails that are worse by more than their margin
    open: Sequence[DecidedMetric]  # guardrails that may or may not be

    @property
    def is_better(self) -> bool:
        return self.is_significant and self.gain > 0

    @property
    def is_bad(self) -> bool:
        """Whether it is not better, and is worse or harms a guardrail."""
        return not self.is_better and ((self.is_significant and self.gain < 0) or bool(self.harmed))


def _standing(primary: DecidedMetric, variant: VariantAnalysis, guardrails: Sequence[DecidedMetric]) -> _Standing:
    key = variant.sample.key
    sign = 1 if primary.role.goal == "increase" else -1
    own = _harm_interval(primary, key)
    intervals = [(metric, _harm_interval(metric, key)) for metric in guardrails]
    return _Standing(
        key=key,
        metric=primary,
        gain=sign * (variant.difference.estimate or 0.0),
        is_significant=variant.decision is not None and variant.decision.is_significant,
        is_not_inferior=own is not None and own[0] > -primary.role.margin,
        harmed=[metric for metric, ends in intervals if ends is not None and ends[1] < -metric.role.margin],
        open=[
            metric
            for metric, ends in intervals
            if ends is None or (ends[0] <= -metric.role.margin and not ends[1] < -metric.role.margin)
        ],
    )


def _reasons(standings: Sequence[_Standing]) -> list[Reason]:
    """Return what is known of each variant."""
    reasons = []
    for one in standings:
        if one.is_significant:
            word, code = ("better", "metric_improved") if one.gain > 0 else ("worse", "metric_declined")
            detail = f"{one.key} is {word} than the baseline in {one.metric.name}, and that is significant."
            reasons.append(Reason(code, one.metric.id, detail))
        for guardrail in one.harmed:
            detail = (
                f"{one.key} is worse than the baseline in {guardrail.name} by more than the "
                f"{guardrail.role.margin:.1%} allowed."
            )
            reasons.append(Reason("guardrail_harmed", guardrail.id, detail))
        for guardrail in one.open:
            detail = f"Whether {one.key} harms {guardrail.name} by more than {guardrail.role.margin:.1%} is open."
            unknown = f" {guardrail.detail}" if guardrail.analysis is None else ""
            reasons.append(Reason("guardrail_open", guardrail.id, f"{detail}{unknown}"))
    return reasons


def _not_precise(progress: Progress, criteria: Criteria) -> Reason:
    left = "" if progress.days_left is None else f" At the current pace it takes about {progress.days_left} more days."
    detail = f"The data are not precise enough yet to show a change of {criteria.target_effect:.1%}.{left}"
    return Reason("not_precise_enough", None, detail)


def measure_progress(primary: DecidedMetric | None, criteria: Criteria, runtime: float) -> Progress:
    """Return the precision of a primary metric, and the days it still needs at the current pace."""
    if primary is None or primary.analysis is None:
        return Progress(0.0, 0.0, runtime, None)
    analysis = primary.analysis
    exposed = sum(variant.sample.number_of_samples for variant in analysis.variants)
    widths = [_half_width(analysis, variant) for variant in _with_data(analysis)]
    if not widths or None in widths:
        return Progress(0.0, exposed, runtime, None)
    widest = max(width for width in widths if width is not None)
    precision = min(1.0, (criteria.target_effect / widest) ** 2) if widest > 0 else 1.0
    if precision <= 0:
        return Progress(0.0, exposed, runtime, None)
    days = max(runtime * (1 / precision - 1), criteria.minimum_runtime - runtime, 0.0)
    return Progress(precision, exposed, runtime, math.ceil(min(days, _MAX_DAYS)))


def relevant_interval(analysis: Analysis, variant: VariantAnalysis) -> Interval | None:
    """Return the relative interval that decisions are based on."""
    contrast = variant.relative_difference
    if analysis.config.is_sequential:
        return contrast.sequential_interval
    return contrast.confidence_interval if analysis.config.method == "frequentist" else contrast.credible_interval


def _blocking(primary: DecidedMetric | None, sample_ratio: SampleRatio | None) -> list[Reason]:
    reasons = []
    if sample_ratio is not None and sample_ratio.is_mismatch:
        detail = (
            f"The persons exposed to each variant do not match the planned split (p = {sample_ratio.p_value:.2g}): "
            "some variants lose or gain persons, and no figure can be trusted until the cause is found."
        )
        reasons.append(Reason("sample_ratio_mismatch", None, detail))
    if primary is None:
        reasons.append(Reason("no_metric", None, "The experiment has no target metric."))
    elif primary.analysis is None:
        reasons.append(Reason("metric_not_analysed", primary.id, primary.detail))
    return reasons


def _harm_interval(metric: DecidedMetric, key: str) -> Interval | None:
    """Return the relative interval of a variant in a metric, signed so that more is better."""
    if metric.analysis is None:
        return None
    variant = next((one for one in metric.analysis.variants if one.sample.key == key), None)
    interval = None if variant is None else relevant_interval(metric.analysis, variant)
    if interval is None:
        return None
    low, high = interval
    return (low, high) if metric.role.goal == "increase" else (-high, -low)


def _with_data(analysis: Analysis) -> list[VariantAnalysis]:
    """Return the variants with data, except the baseline."""
    return [one for one in analysis.variants if not one.is_baseline and one.sample.number_of_samples > 0]


def _half_width(analysis: Analysis, variant: VariantAnalysis) -> float | None:
    interval = relevant_interval(analysis, variant)
    return None if interval is None else (interval[1] - interval[0]) / 2
