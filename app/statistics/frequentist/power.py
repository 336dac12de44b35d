r"""Sample sizes, and the smallest effects that samples of a size can detect.

All formulas are for two groups of equal size, a two-sided test and a difference d from the baseline. With
:math:`z_a = \Phi^{-1}(1 - \alpha/2)` and :math:`z_b = \Phi^{-1}(power)`:

* proportions: :math:`n = (z_a \sqrt{2 p q} + z_b \sqrt{p q + (p + d)(1 - p - d)})^2 / d^2`,
* counts: the same with :math:`2 \lambda` and :math:`\lambda + (\lambda + d)` under the roots,
* means: :math:`n = 2 \sigma^2 (z_a + z_b)^2 / d^2`.

References
----------
J. L. Fleiss, B. Levin and M. C. Paik, *Statistical Methods for Rates and Proportions*, 3rd ed., 2003, section 4.3.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from statistics import NormalDist

_STANDARD_NORMAL = NormalDist()
_BISECTIONS = 200

SizeOf = Callable[[float], float]


@dataclass(frozen=True)
class PowerInputs:
    """The inputs of a power calculation. ``baseline`` is a conversion rate, events per exposure, or a mean.

    ``variance`` is that of one sample; for proportions and counts it follows from the baseline.
    """

    baseline: float
    alpha: float
    power: float
    variance: float | None = None


def proportion_size(inputs: PowerInputs, difference: float) -> float:
    """Return the persons that each group needs, not rounded."""
    p, changed = inputs.baseline, inputs.baseline + difference
    return _size(inputs, 2 * p * (1 - p), p * (1 - p) + changed * (1 - changed), difference)


def count_size(inputs: PowerInputs, difference: float) -> float:
    """Return the exposure that each group needs, for independent events."""
    rate = inputs.baseline
    return _size(inputs, 2 * rate, 2 * rate + difference, difference)


def mean_size(inputs: PowerInputs, difference: float) -> float:
    """Return the samples that each group needs, not rounded."""
    if inputs.variance is None:
        raise ValueError("the sample size of a mean requires its variance")
    return _size(inputs, 2 * inputs.variance, 2 * inputs.variance, difference)


def _size(inputs: PowerInputs, same: float, different: float, difference: float) -> float:
    z_alpha = _STANDARD_NORMAL.inv_cdf(1 - inputs.alpha / 2)
    z_power = _STANDARD_NORMAL.inv_cdf(inputs.power)
    root = (z_alpha * math.sqrt(same) + z_power * math.sqrt(max(different, 0.0))) / abs(difference)
    return root * root if root < 1e150 else math.inf


def rule_of_2022_size(inputs: PowerInputs, difference: float) -> float:
    """Return PostHog's figure of 2022 for proportions: 16 p q / d^2, roughly alpha 0.05 and power 0.8."""
    root = 4 * math.sqrt(inputs.baseline * (1 - inputs.baseline)) / abs(difference)
    return root * root if root < 1e150 else math.inf


def rule_of_2022_days(events_per_day: float, changed_per_day: float) -> float:
    """Return PostHog's figure of 2022 for counts: the days until the roots of both totals are 4 apart."""
    root = math.sqrt(events_per_day) - math.sqrt(changed_per_day)
    return 4 / root**2 if root * root > 0 else math.inf


def rule_of_2022_change(events_per_day: float, days: float) -> float:
    """Return the rise in events per day for which ``rule_of_2022_days`` gives a number of days."""
    return 4 / math.sqrt(days) * math.sqrt(events_per_day) + 4 / days


def round_to_tenth(value: float) -> float:
    """Round as browsers do, halves up."""
    return float(Decimal(value).quantize(Decimal("0.1"), rounding=ROUND_HALF_UP)) if abs(value) < 1e15 else value


def smallest_difference(size_of: SizeOf, size: float, largest: float) -> float | None:
    """Return the smallest rise that groups of a size can detect; None where even the largest one needs more.

    Sizes fall as differences grow, so that bisection on a logarithmic scale finds the rise to the last digits.
    """
    low, high = math.log(largest) - 690, math.log(largest)
    if size_of(math.exp(high)) > size or size_of(math.exp(low)) < size:
        return None
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if size_of(math.exp(middle)) > size else (low, middle)
    return math.exp(high)
