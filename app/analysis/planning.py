"""Plans experiments: computes sample size, running time and smallest detectable effect from one of them."""

import math
from fractions import Fraction

from app.analysis.planning_schemas import PlannedMetricType, PlanRule, PowerRead, PowerRequest, SingleLookRead
from app.common.errors import ValidationFailed
from app.statistics.frequentist.power import (
    PowerInputs,
    Rule,
    round_to_tenth,
    rule_of_2022_change,
    rule_of_2022_days,
    rule_of_2022_difference,
    rule_of_2022_size,
    smallest_difference,
    smallest_size,
)
from app.statistics.numerics.exact_numbers import to_float

_LARGEST_SIZE = 1e18
_LARGEST_DIFFERENCE = 1e150
_EFFECT = "minimum_detectable_effect"
_SPREAD = {"funnel": "p (1 - p) + (p + d) (1 - p - d)", "count": "2 r + d", "mean": "2 variance"}


def plan(request: PowerRequest) -> PowerRead:
    """Compute the quantities that the request leaves out.

    Raises
    ------
    ValidationFailed
        When the request contradicts itself or cannot be satisfied.
    """
    _check(request)
    if request.method == "posthog_2022":
        return _plan_of_2022(request)
    rule: Rule = "common"
    single: Rule | None = None
    if request.method == "verdict":
        rule = single = "confidence_interval" if request.stats_config.method == "frequentist" else "credible_interval"
        if request.stats_config.sequential.enabled:
            rule = "anytime_valid"
    inputs = _inputs(request)
    difference, per_variant = _solve(request, inputs, rule)
    total = per_variant * request.variants
    if single is None or single == rule:
        return _answer(request, rule, difference, per_variant, total, _days(request, total))
    return _answer(
        request, rule, difference, per_variant, total, _days(request, total), _look_once(request, inputs, single)
    )


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
    level = "confidence_level" in request.stats_config.model_fields_set
    if (
        request.alpha is not None
        and level
        and not math.isclose(request.alpha, 1 - request.stats_config.confidence_level)
    ):
        raise ValidationFailed("alpha must be 1 minus stats_config.confidence_level: send one of them", attr="alpha")


def _inputs(request: PowerRequest) -> PowerInputs:
    config = request.stats_config
    is_corrected = request.method == "verdict" and config.multiple_testing != "none"
    return PowerInputs(
        kind=request.metric_type,
        baseline=request.baseline,
        alpha=_alpha(request),
        power=request.power,
        tuning=config.sequential.tuning_parameter,
        variance=request.variance,
        comparisons=request.variants - 1 if is_corrected else 1,
    )


def _alpha(request: PowerRequest) -> float:
    if request.alpha is not None:
        return request.alpha
    return float(1 - Fraction(repr(request.stats_config.confidence_level)))


def _solve(request: PowerRequest, inputs: PowerInputs, rule: Rule) -> tuple[float | None, float]:
    """Return the difference, and the samples of each variant: one is given, the other follows by a rule."""
    if request.minimum_detectable_effect is not None:
        difference = float(_difference(request, request.minimum_detectable_effect))
        size = smallest_size(inputs, rule, difference)
        if size is None:
            raise ValidationFailed("The effect is too small: no experiment is large enough to detect it", attr=_EFFECT)
        return difference, float(size)
    per_variant = _samples(request) / request.variants
    largest = 1 - request.baseline if request.metric_type == "funnel" else _LARGEST_DIFFERENCE
    return smallest_difference(inputs, rule, per_variant, largest), per_variant


def _look_once(request: PowerRequest, inputs: PowerInputs, rule: Rule) -> SingleLookRead:
    """Return the plan of an experiment that is looked at once, at its end."""
    difference, per_variant = _solve(request, inputs, rule)
    total = per_variant * request.variants
    return SingleLookRead(
        rule=rule,
        formula=_formula(request, rule),
        minimum_detectable_effect=difference,
        minimum_detectable_effect_relative=_relative(request, difference),
        sample_size_per_variant=per_variant,
        recommended_sample_size=total,
        recommended_running_time=_days(request, total),
    )


def _difference(request: PowerRequest, effect: float) -> Fraction:
    """Return the effect in the baseline's unit, of the decimal numbers as they were sent."""
    if request.relative and not request.baseline > 0:
        raise ValidationFailed("A relative effect needs a baseline above 0", attr="relative")
    baseline = Fraction(repr(request.baseline))
    difference = Fraction(repr(effect)) * (baseline if request.relative else 1)
    changed = baseline + difference
    if difference == 0 or float(difference) == 0:
        raise ValidationFailed("An effect of 0 cannot be detected", attr=_EFFECT)
    if request.metric_type != "mean" and changed < 0:
        raise ValidationFailed("The effect would make the baseline negative", attr=_EFFECT)
    if request.metric_type == "funnel" and changed > 1:
        raise ValidationFailed("The effect would raise the conversion rate above 1", attr=_EFFECT)
    return difference


def _samples(request: PowerRequest) -> float:
    """Return the given number of samples of all variants, or that of the given running time."""
    return request.sample_size or _exposures_per_day(request) * (request.running_time or 0.0)


def _exposures_per_day(request: PowerRequest) -> float:
    if request.exposures_per_day is None:
        raise ValidationFailed("running_time requires exposures_per_day", attr="exposures_per_day", code="required")
    return request.exposures_per_day


def _days(request: PowerRequest, total: float) -> float | None:
    return None if request.exposures_per_day is None else total / request.exposures_per_day


def _plan_of_2022(request: PowerRequest) -> PowerRead:
    """Apply the rules of thumb of the 2022 frontend.

    That for counts uses events per day, and ignores how many persons send them.
    """
    baseline = Fraction(repr(request.baseline))
    if request.metric_type == "count":
        return _plan_days_of_2022(request, baseline)
    if request.minimum_detectable_effect is None:
        total = _samples(request)
        found = rule_of_2022_difference(baseline, total / request.variants)
        difference = found if found <= 1 - request.baseline else None
        per_variant = total / request.variants
    else:
        exact = _difference(request, request.minimum_detectable_effect)
        size = rule_of_2022_size(baseline, exact)
        if size > _LARGEST_SIZE:
            raise ValidationFailed("The effect is too small: no experiment is large enough to detect it", attr=_EFFECT)
        difference, per_variant = float(exact), float(size)
        total = per_variant * request.variants
    days = _days(request, total)
    return _answer(
        request, "posthog_2022", difference, per_variant, total, None if days is None else round_to_tenth(days)
    )


def _plan_days_of_2022(request: PowerRequest, baseline: Fraction) -> PowerRead:
    exposures = _exposures_per_day(request)
    if request.minimum_detectable_effect is None:
        days = request.running_time or (request.sample_size or 0.0) / exposures
        difference = rule_of_2022_change(request.baseline * exposures, days) / exposures
        return _answer(request, "posthog_2022", difference, None, None, days)
    exact = _difference(request, request.minimum_detectable_effect)
    per_day = Fraction(repr(exposures))
    days = rule_of_2022_days(baseline * per_day, (baseline + exact) * per_day)
    if not days <= _LARGEST_SIZE:
        raise ValidationFailed("The effect is too small: no experiment is long enough to detect it", attr=_EFFECT)
    return _answer(request, "posthog_2022", float(exact), None, None, round_to_tenth(days))


_ANYTIME = (
    "n = (f + z_b)^2 ({spread}) / d^2, f^2 = 2 (1 + 1/i) (log(1 + i) / 2 + log(c / alpha)), "
    "i = 2 n (2 log(1/alpha) + log(1 + 2 log(1/alpha))) / tuning_parameter"
)
_WALD = "n = ({spread}) (z_a + z_b)^2 / d^2"
_TWO_ROOTS = "n = (z_a sqrt({same}) + z_b sqrt({spread}))^2 / d^2"
_FORMULAS: dict[tuple[PlanRule, PlannedMetricType], str] = {
    ("confidence_interval", "funnel"): _TWO_ROOTS.replace("{same}", "2 (p + d/2) (1 - p - d/2)"),
    ("confidence_interval", "count"): "d n - 1 = (z_a + z_b) sqrt(n ({spread}))",
    ("confidence_interval", "mean"): f"{_WALD} + z_a^2 / 4",
    ("common", "funnel"): _TWO_ROOTS.replace("{same}", "2 p (1 - p)"),
    ("common", "count"): _TWO_ROOTS.replace("{same}", "2 r"),
    ("posthog_2022", "funnel"): "n = 16 p (1 - p) / d^2",
    ("posthog_2022", "count"): "days = 4 / (sqrt(events a day) - sqrt(events a day with the effect))^2",
}


def _formula(request: PowerRequest, rule: PlanRule) -> str:
    usual = _ANYTIME if rule == "anytime_valid" else _WALD
    return _FORMULAS.get((rule, request.metric_type), usual).replace("{spread}", _SPREAD[request.metric_type])


_ONE_LOOK = "One look, when the planned samples are there: an earlier one raises the share of false alarms."
_TEXTS: dict[PlanRule, str] = {
    "anytime_valid": "Power is the probability that the verdict is significant at the look at which the planned "
    "samples are there. Daily looks before can only find the effect sooner, and raise no false alarms above alpha.",
    "credible_interval": _ONE_LOOK,
    "confidence_interval": _ONE_LOOK,
    "common": "The formula of common calculators, for one look. It takes the baseline's variance for both groups in "
    "z_a, and so plans too few samples for a rise from a low rate.",
    "posthog_2022": "The rule of thumb of the 2022 frontend. It ignores alpha and power.",
}


def _assumption(request: PowerRequest, rule: PlanRule, comparisons: int) -> str:
    sentences = [_TEXTS[rule]]
    if rule in {"anytime_valid", "credible_interval", "confidence_interval"}:
        sentences.append("Each variant needs 100 samples before any verdict.")
    if request.variants > 2 and rule != "posthog_2022":
        sentences.append(
            f"One of the variants differs, and its comparison is one of {comparisons} that are corrected for."
            if comparisons > 1
            else "Each variant is compared with the baseline, without a correction."
        )
    if request.metric_type == "count" and rule == "anytime_valid":
        sentences.append("One unit of exposure is one person.")
    return " ".join(sentences)


def _relative(request: PowerRequest, difference: float | None) -> float | None:
    if difference is None or not request.baseline > 0:
        return None
    relative = to_float(Fraction(repr(difference)) / Fraction(repr(request.baseline)))
    return relative if math.isfinite(relative) else None


def _answer(
    request: PowerRequest,
    rule: PlanRule,
    difference: float | None,
    per_variant: float | None,
    total: float | None,
    days: float | None,
    single_look: SingleLookRead | None = None,
) -> PowerRead:
    comparisons = _inputs(request).comparisons
    return PowerRead(
        metric_type=request.metric_type,
        method=request.method,
        rule=rule,
        alpha=_alpha(request),
        power=request.power,
        comparisons=comparisons,
        formula=_formula(request, rule),
        assumption=_assumption(request, rule, comparisons),
        minimum_detectable_effect=difference,
        minimum_detectable_effect_relative=_relative(request, difference),
        sample_size_per_variant=per_variant,
        recommended_sample_size=total,
        recommended_running_time=days,
        single_look=single_look,
    )
