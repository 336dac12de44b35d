"""The verdict on a trend: counts per exposure with Gamma posteriors."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.statistics.bayesian.comparison import compare
from app.statistics.bayesian.intervals import equal_tailed_intervals
from app.statistics.numerics.tail_probabilities import poisson_comparison
from app.statistics.posteriors import GammaPosterior
from app.statistics.posthog_2022.significance import (
    MAX_P_VALUE,
    MIN_EXPOSURE,
    SignificanceCode,
    Variant,
    require_comparable,
    win_probability_is_low,
)


@dataclass(frozen=True)
class TrendVariant:
    """Events of a variant, and its exposed persons: as a ratio to control's (1 for control), and in number."""

    key: str
    count: int
    exposure: float
    absolute_exposure: float

    def __post_init__(self) -> None:
        """Refuse negative counts and exposures that are not positive."""
        if self.count < 0:
            raise ValueError(f"count of {self.key!r} cannot be negative, got {self.count}")
        for name, value in (("exposure", self.exposure), ("absolute_exposure", self.absolute_exposure)):
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} of {self.key!r} must be a positive number, got {value!r}")


@dataclass(frozen=True)
class TrendVerdict:
    """The verdict of the 2022 rule on a trend, from exact probabilities. Mappings are by variant, control first.

    ``p_value`` is 1 where the rule decided before computing it. Intervals are of events per exposed person.
    """

    probability: Mapping[str, float]
    significance_code: SignificanceCode
    p_value: float
    credible_intervals: Mapping[str, tuple[float, float]]

    @property
    def significant(self) -> bool:
        return self.significance_code == SignificanceCode.SIGNIFICANT


def evaluate_trend(variants: Sequence[TrendVariant]) -> TrendVerdict:
    """Apply the 2022 rule to a trend.

    Parameters
    ----------
    variants : sequence of TrendVariant
        Control first, then one to nine tests.

    Raises
    ------
    ExperimentDataError
        When control or tests are missing, or there are more than ten variants.

    Notes
    -----
    The rate of a variant is Gamma(count + 1, exposure). As in 2022, the p-value compares the test variant with
    the highest count to control, regardless of exposures.
    """
    require_comparable(variants)
    comparison = compare([GammaPosterior.from_counts(variant.count, variant.exposure) for variant in variants])
    keys = [variant.key for variant in variants]
    probability = dict(zip(keys, comparison.win_probabilities.tolist(), strict=True))
    code, p_value = _decide(variants, probability)
    intervals = equal_tailed_intervals(
        [GammaPosterior.from_counts(variant.count, variant.absolute_exposure) for variant in variants]
    )
    return TrendVerdict(
        probability,
        code,
        p_value,
        {key: (low, high) for key, (low, high) in zip(keys, intervals.tolist(), strict=True)},
    )


def withhold_verdict(variants: Sequence[Variant]) -> TrendVerdict:
    """Return the verdict on amounts, which are not counts of independent events: the rule does not apply to them.

    All variants have the same probability, as before any data, and there are no intervals.

    Raises
    ------
    ExperimentDataError
        As ``evaluate_trend``.
    """
    require_comparable(variants)
    probability = {variant.key: 1 / len(variants) for variant in variants}
    return TrendVerdict(probability, SignificanceCode.NOT_COMPARABLE, 1.0, {})


def _decide(variants: Sequence[TrendVariant], probability: Mapping[str, float]) -> tuple[SignificanceCode, float]:
    if any(variant.absolute_exposure < MIN_EXPOSURE for variant in variants):
        return SignificanceCode.NOT_ENOUGH_EXPOSURE, 1.0
    if win_probability_is_low(probability):
        return SignificanceCode.LOW_WIN_PROBABILITY, 1.0
    control, *tests = variants
    best = max(tests, key=lambda variant: variant.count)
    [p_value] = poisson_comparison(control.count, [best.count], [best.exposure / control.exposure]).tolist()
    if p_value >= MAX_P_VALUE:
        return SignificanceCode.HIGH_P_VALUE, p_value
    return SignificanceCode.SIGNIFICANT, p_value
