"""Sample ratio mismatch: whether the observed split of samples fits the planned one."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from app.statistics.numerics.tail_probabilities import chi_square_p_value

MISMATCH_LEVEL = 0.001  # strict, because the test is repeated at every look and a false alarm costs an experiment
MIN_SAMPLES = 100


@dataclass(frozen=True)
class SampleRatio:
    """Pearson's chi-square test of the observed split against the planned one.

    ``chi_square`` is infinite where a variant has samples that the plan gives none.
    """

    expected: Mapping[str, float]
    chi_square: float
    p_value: float
    is_mismatch: bool


def check_sample_ratio(observed: Mapping[str, float], weights: Mapping[str, float]) -> SampleRatio:
    """Test the samples of each variant against weights on any scale.

    A variant of weight zero expects no sample. One that has samples all the same is impossible under the plan: the
    p-value is 0, and it is a mismatch at any number of samples, because nothing is approximated.

    Raises
    ------
    ValueError
        When weights are negative or not finite, all zero, or not those of the variants.
    """
    if observed.keys() != weights.keys():
        raise ValueError(f"the split must name exactly the variants, got {sorted(weights)}")
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights.values()):
        raise ValueError("weights of the split must be finite and not negative")
    largest = max(weights.values())
    if largest == 0:
        raise ValueError("at least one weight of the split must be above 0")
    shares = {key: weight / largest for key, weight in weights.items()}
    whole, total = sum(shares.values()), float(sum(observed.values()))
    expected = {key: total * share / whole for key, share in shares.items()}
    if any(observed[key] > 0 for key, share in shares.items() if share == 0):
        return SampleRatio(expected, math.inf, 0.0, is_mismatch=True)
    statistic = sum((observed[key] - mean) ** 2 / mean for key, mean in expected.items() if mean > 0)
    degrees = sum(share > 0 for share in shares.values()) - 1
    p_value = (
        1.0 if degrees == 0 or total == 0 else 0.0 if math.isinf(statistic) else chi_square_p_value(statistic, degrees)
    )
    return SampleRatio(expected, statistic, p_value, total >= MIN_SAMPLES and p_value < MISMATCH_LEVEL)
