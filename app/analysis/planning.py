"""Plans experiments: computes sample size, running time and smallest detectable effect from one of them."""

import math
from functools import partial

from app.analysis.schemas import PowerRead, PowerRequest
from app.common.errors import ValidationFailed
from app.statistics.frequentist.power import (
    PowerInputs,
    SizeOf,
    count_size,
    mean_size,
    proportion_size,
    round_to_tenth,
    rule_of_2022_change,
    rule_of_2022_days,
    rule_of_2022_size,
    smallest_difference,
)

_LARGEST_SIZE = 1e18
_LARGEST_DIFFERENCE = 1e150
_EFFECT = "minimum_detectable_effect"

_FORMULAS = {
    ("two_sample", "funnel"): "n = (z_a sqrt(2 p (1 - p)) + z_b sqrt(p (1 - p) + (p + d) (1 - p - d)))^2 / d^2",
    ("two_sample", "count"): "n = (z_a sqrt(2 r) + z_b sqrt(r + (r + d)))^2 / d^2",
    ("two_sample", "mean"): "n = 2 variance (z_a + z_b)^2 / d^2",
    ("posthog_2022", "funnel"): "n = 16 p (1 - p) / d^2",
    ("posthog_2022", "count"): "days = 4 / (sqrt(events a day) - sqrt(events a day with the effect))^2",
}


def plan(request: PowerRequest) -> PowerRead:
    """Compute the quantities that the request leaves out.

    Raises
    ------
    ValidationFailed
        When the request contradicts itself or cannot be satisfied.
    """
    _check(request)
    if request.method == "posthog_2022" and request.metric_type == "count":
        return _plan_days_of_2022(request)
    size_of = _size_function(request)
    if request.minimum_detectable_effect is not None:
        difference = _difference(request, request.minimum_detectable_effect)
        size = size_of(difference)
        if not size <= _LARGEST_SIZE:
            raise ValidationFailed("The effect is too small: no experiment is large enough to detect it", attr=_EFFECT)
        per_variant = float(math.ceil(size))
        return _answer(request, difference, per_variant, per_variant * request.variants)
    total = request.sample_size or _exposures_per_day(request) * (request.running_time or 0.0)
    largest = 1 - request.baseline if request.metric_type == "funnel" else _LARGEST_DIFFERENCE
    per_variant = total / request.variants
    return _answer(request, smallest_difference(size_of, per_variant, largest), per_variant, total)


def _check(request: PowerRequest) -> None:
    given = [request.minimum_detectable_effect, request.sample_size, request.running_time]
    if sum(value is not None for value in given) != 1:
        raise ValidationFailed(
            "Send exactly one of minimum_detectable_effect, sample_size and running_time", attr=_EFFECT
        )
    if request.metric_type == "funnel" and not 0 < request.baseline < 1:
        raise ValidationFailed("A conversion rate must lie between 0 and 1", attr="baseline")
    if request.metric_type == "count" and not request.baseline > 0:
        raise ValidationFailed("A rate of events must be above 0", attr="baseline")
    if request.metric_type == "mean" and not request.variance:
        raise ValidationFailed("A mean needs its variance, which must be above 0", attr="variance")
    if request.metric_type == "mean" and request.method == "posthog_2022":
        raise ValidationFailed("method posthog_2022 supports funnel and count metrics only", attr="method")


def _difference(request: PowerRequest, effect: float) -> float:
    """Return the effect in the baseline's unit."""
    if request.relative and not request.baseline > 0:
        raise ValidationFailed("A relative effect needs a baseline above 0", attr="relative")
    difference = float(effect * request.baseline if request.relative else effect)
    changed = request.baseline + difference
    if difference == 0:
        raise ValidationFailed("An effect of 0 cannot be detected", attr=_EFFECT)
    if request.metric_type != "mean" and changed < 0:
        raise ValidationFailed("The effect would make the baseline negative", attr=_EFFECT)
    if request.metric_type == "funnel" and changed > 1:
        raise ValidationFailed("The effect would raise the conversion rate above 1", attr=_EFFECT)
    return difference


def _size_function(request: PowerRequest) -> SizeOf:
    inputs = PowerInputs(request.baseline, request.alpha, request.power, request.variance)
    if request.method == "posthog_2022":
        return partial(rule_of_2022_size, inputs)
    sizes = {"funnel": proportion_size, "count": count_size, "mean": mean_size}
    return partial(sizes[request.metric_type], inputs)


def _exposures_per_day(request: PowerRequest) -> float:
    if request.exposures_per_day is None:
        raise ValidationFailed("running_time requires exposures_per_day", attr="exposures_per_day", code="required")
    return request.exposures_per_day


def _plan_days_of_2022(request: PowerRequest) -> PowerRead:
    """Apply the rule for counts, which uses events per day and ignores how many persons send them."""
    exposures = _exposures_per_day(request)
    events = request.baseline * exposures
    if request.minimum_detectable_effect is None:
        days = request.running_time or (request.sample_size or 0.0) / exposures
        return _answer(request, rule_of_2022_change(events, days) / exposures, None, None, days)
    difference = _difference(request, request.minimum_detectable_effect)
    days = rule_of_2022_days(events, events + difference * exposures)
    if not days <= _LARGEST_SIZE:
        raise ValidationFailed("The effect is too small: no experiment is long enough to detect it", attr=_EFFECT)
    return _answer(request, difference, None, None, round_to_tenth(days))


def _answer(
    request: PowerRequest,
    difference: float | None,
    per_variant: float | None,
    total: float | None,
    days: float | None = None,
) -> PowerRead:
    if total is not None and request.exposures_per_day is not None:
        days = total / request.exposures_per_day
        days = round_to_tenth(days) if request.method == "posthog_2022" else days
    relative = difference / request.baseline if difference is not None and request.baseline > 0 else None
    return PowerRead(
        metric_type=request.metric_type,
        method=request.method,
        formula=_FORMULAS[request.method, request.metric_type],
        minimum_detectable_effect=difference,
        minimum_detectable_effect_relative=relative if relative is not None and math.isfinite(relative) else None,
        sample_size_per_variant=per_variant,
        recommended_sample_size=total,
        recommended_running_time=days,
    )
