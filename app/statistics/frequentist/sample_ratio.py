"""Sample ratio mismatch: whether the observed split of samples fits the planned one."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from app.statistics.numerics.tail_probabilities import chi_square_p_value

MISMATCH_LEVEL = 0.001  # strict, because the test is repeated at every look and a false alarm costs an experiment
MIN_SAMPLES = 100


@dataclass(frozen=True)
class SampleRatio:
    """Pearson's chi-square test of the observed split against the planned one."""

    expected: Mapping[str, float]
    chi_square: float
    p_value: float
    is_mismatch: bool


def check_sample_ratio(observed: Mapping[str, float], weights: Mapping[str, float]) -> SampleRatio:
    """Test the samples of each variant against weights on any scale.

    Variants of weight zero are left out on both sides.

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
    shares = {key: weight / largest for key, weight in weights.items() if weight > 0}
    shares = {key: share for key, share in shares.items() if share > 0}
    whole = sum(shares.values())
    total = float(sum(observed[key] for key in shares))
    expected = {key: total * share / whole for key, share in shares.items()}
    statistic = sum((observed[key] - mean) ** 2 / mean for key, mean in expected.items() if mean > 0)
    p_value = chi_square_p_value(statistic, len(shares) - 1) if len(shares) > 1 and total > 0 else 1.0
    return SampleRatio(expected, statistic, p_value, total >= MIN_SAMPLES and p_value < MISMATCH_LEVEL)
