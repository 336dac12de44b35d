"""The verdict on a funnel: conversion rates with Beta posteriors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.statistics.bayesian.comparison import Comparison, compare
from app.statistics.bayesian.intervals import equal_tailed_on
from app.statistics.posteriors import BetaPosterior
from app.statistics.posthog_2022.significance import (
    MAX_EXPECTED_LOSS,
    MIN_EXPOSURE,
    SignificanceCode,
    require_comparable,
    win_probability_is_low,
)
from app.statistics.variants import FunnelVariant


@dataclass(frozen=True)
class FunnelVerdict:
    """The verdict of the 2022 rule on a funnel, from exact probabilities. Mappings are by variant, control first.

    ``expected_loss`` is in conversion rate; 1 where the rule decided before computing it.
    """

    probability: Mapping[str, float]
    significance_code: SignificanceCode
    expected_loss: float
    credible_intervals: Mapping[str, tuple[float, float]]

    @property
    def significant(self) -> bool:
        return self.significance_code == SignificanceCode.SIGNIFICANT


def evaluate_funnel(variants: Sequence[FunnelVariant]) -> FunnelVerdict:
    """Apply the 2022 rule to a funnel.

    Parameters
    ----------
    variants : sequence of FunnelVariant
        Control first, then one to nine tests.

    Raises
    ------
    ExperimentDataError
        When control or tests are missing, or there are more than ten variants.

    Notes
    -----
    The rate of a variant is Beta(successes + 1, failures + 1). As in 2022, the loss is always that of the test variant
    with the best raw rate against control: a clear win of control therefore ends as ``high_loss``.
    """
    require_comparable(variants)
    comparison = compare([BetaPosterior.from_counts(one.success_count, one.failure_count) for one in variants])
    keys = [variant.key for variant in variants]
    probability = dict(zip(keys, comparison.win_probabilities.tolist(), strict=True))
    code, loss = _decide(variants, probability, comparison)
    intervals = equal_tailed_on(comparison.grid)
    return FunnelVerdict(
        probability,
        code,
        loss,
        {key: (low, high) for key, (low, high) in zip(keys, intervals.tolist(), strict=True)},
    )


def _decide(
    variants: Sequence[FunnelVariant], probability: Mapping[str, float], comparison: Comparison
) -> tuple[SignificanceCode, float]:
    if any(variant.total < MIN_EXPOSURE for variant in variants):
        return SignificanceCode.NOT_ENOUGH_EXPOSURE, 1.0
    if win_probability_is_low(probability):
        return SignificanceCode.LOW_WIN_PROBABILITY, 1.0
    best = max(range(1, len(variants)), key=lambda index: variants[index].rate)
    loss = float(comparison.losses_against_control[best])
    if loss >= MAX_EXPECTED_LOSS:
        return SignificanceCode.HIGH_LOSS, loss
    return SignificanceCode.SIGNIFICANT, loss
