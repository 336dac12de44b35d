r"""Sample sizes, and the smallest effects that samples of a size can detect.

All rules are for two groups of n samples each, a two-sided test and a difference d from the baseline. Variances of one
sample are :math:`v_0` for the baseline and :math:`v_1` for the changed mean: p (1 - p) of conversions, the rate of
counts, and a given variance of means. :math:`z_a = \Phi^{-1}(1 - \alpha/2)` and :math:`z_b = \Phi^{-1}(power)`.

The anytime-valid rule is planned for the look at which the planned samples are there: by then the estimate has to be
:math:`f(2 n)` standard errors away from zero, the half width of the anytime-valid interval at 2 n samples, so that

.. math:: |d| = (f(2 n) + z_b) \sqrt{(v_0 + v_1) / n}.

Looks before can only find the effect sooner. For a single look, each test of the product has its own:

* credible interval: :math:`|d| = (z_a + z_b) \sqrt{(v_0 + v_1) / n}`,
* pooled z test of conversions: :math:`|d| = z_a \sqrt{2 \bar p \bar q / n} + z_b \sqrt{(v_0 + v_1) / n}` with the mean
  rate :math:`\bar p` (Fleiss, Levin and Paik, without their correction for continuity),
* exact comparison of counts: :math:`|d| - 1/n = (z_a + z_b) \sqrt{(v_0 + v_1) / n}`, corrected for continuity,
* Welch's t test: :math:`n = (v_0 + v_1) (z_a + z_b)^2 / d^2 + z_a^2 / 4` (Guenther).

References
----------
J. L. Fleiss, B. Levin and M. C. Paik, *Statistical Methods for Rates and Proportions*, 3rd ed., 2003, chapter 4.
W. C. Guenther, *Sample size formulas for normal theory t tests*, The American Statistician 35 (1981).
E. Miller, *Sample Size Calculator*, evanmiller.org (2010): the formula of ``common_size``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction
from statistics import NormalDist
from typing import Literal, TypeAlias

from app.statistics.frequentist.sequential import sequential_factor
from app.statistics.posthog_2022.significance import MIN_EXPOSURE

LARGEST_SIZE = 10**18
MIN_EXPECTED = 5  # events, conversions or failures of each group, without which the verdict is that data are missing
_STANDARD_NORMAL = NormalDist()
_BISECTIONS = 200

MetricKind: TypeAlias = Literal["funnel", "count", "mean"]
Rule: TypeAlias = Literal["anytime_valid", "credible_interval", "confidence_interval", "common"]


@dataclass(frozen=True)
class PowerInputs:
    """The inputs of a power calculation. ``baseline`` is a conversion rate, events per exposure, or a mean.

    ``variance`` is that of one sample of a mean. With ``comparisons`` that are corrected for, the smallest p-value has
    to be below ``alpha`` divided by their number: the first step of Holm's method and of Benjamini and Hochberg's, and
    the only one where a single variant differs. ``tuning`` is that of the anytime-valid interval.
    """

    kind: MetricKind
    baseline: float
    alpha: float
    power: float
    tuning: float
    variance: float | None = None
    comparisons: int = 1

    @property
    def z_alpha(self) -> float:
        return _STANDARD_NORMAL.inv_cdf(1 - self.alpha / self.comparisons / 2)

    @property
    def z_power(self) -> float:
        return _STANDARD_NORMAL.inv_cdf(self.power)

    def spread(self, difference: float) -> float:
        """Return the sum of both groups' variances of one sample."""
        if self.kind == "mean":
            if self.variance is None:
                raise ValueError("the sample size of a mean requires its variance")
            return 2 * self.variance
        changed = self.baseline + difference
        if self.kind == "count":
            return self.baseline + changed
        return self.baseline * (1 - self.baseline) + max(changed * (1 - changed), 0.0)


def detects(inputs: PowerInputs, rule: Rule, difference: float, size: float) -> bool:
    """Whether the verdict on groups of a size is, with the wanted power, that they differ.

    What the verdict asks for besides is asked for here, except by the ``common`` formula: 100 samples in each group,
    and, except by the exact posterior, enough events.
    """
    if rule == "common":
        return _is_far_enough(inputs, rule, difference, size)
    if size < MIN_EXPOSURE or not _is_far_enough(inputs, rule, difference, size):
        return False
    return rule == "credible_interval" or _expects_enough(inputs, difference, size)


def _is_far_enough(inputs: PowerInputs, rule: Rule, difference: float, size: float) -> bool:
    """Whether a difference is as many standard errors away from zero as a rule needs."""
    root = math.sqrt(inputs.spread(difference))
    if rule == "common":
        return _reaches(difference, size, inputs.z_alpha * _common_root(inputs) + inputs.z_power * root)
    if rule == "credible_interval":
        return _reaches(difference, size, (inputs.z_alpha + inputs.z_power) * root)
    if rule == "anytime_valid":
        factor = sequential_factor(2 * size, inputs.alpha, inputs.tuning, inputs.comparisons)
        return _reaches(difference, size, (factor + inputs.z_power) * root)
    if inputs.kind == "funnel":
        middle = inputs.baseline + difference / 2
        return _reaches(difference, size, inputs.z_alpha * math.sqrt(2 * middle * (1 - middle)) + inputs.z_power * root)
    needed = (inputs.z_alpha + inputs.z_power) * root
    if inputs.kind == "count":
        return abs(difference) * size - 1 >= needed * math.sqrt(size)
    return size > inputs.z_alpha**2 / 4 and _reaches(difference, size - inputs.z_alpha**2 / 4, needed)


def _reaches(difference: float, size: float, needed: float) -> bool:
    return abs(difference) * math.sqrt(size) >= needed


def _common_root(inputs: PowerInputs) -> float:
    """Return the standard deviation of a difference of two samples at the baseline's rate, which calculators use."""
    if inputs.kind == "funnel":
        return math.sqrt(2 * inputs.baseline * (1 - inputs.baseline))
    return math.sqrt(2 * inputs.baseline) if inputs.kind == "count" else math.sqrt(inputs.spread(0.0))


def _expects_enough(inputs: PowerInputs, difference: float, size: float) -> bool:
    """Whether both groups together have, with the wanted power, twice the events that the verdict asks for."""
    if inputs.kind == "mean":
        return True
    mean = size * (2 * inputs.baseline + difference)
    if inputs.kind == "funnel":
        mean = min(mean, 2 * size - mean)
    return mean - inputs.z_power * math.sqrt(mean) >= 2 * MIN_EXPECTED - 0.5


def smallest_size(inputs: PowerInputs, rule: Rule, difference: float) -> int | None:
    """Return the smallest whole number of samples of each group by which a difference is detected.

    None where it is beyond ``LARGEST_SIZE``.
    """
    low, high = 0, 1
    while not detects(inputs, rule, difference, high):
        if high >= LARGEST_SIZE:
            return None
        low, high = high, min(2 * high, LARGEST_SIZE)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if detects(inputs, rule, difference, middle) else (middle, high)
    return high


def smallest_difference(inputs: PowerInputs, rule: Rule, size: float, largest: float) -> float | None:
    """Return the smallest rise that groups of a size detect; None where there is none up to the largest."""
    if rule != "common" and size < MIN_EXPOSURE:
        return None
    found = _smallest(lambda difference: _is_far_enough(inputs, rule, difference, size), largest)
    if found is None or detects(inputs, rule, found, size):
        return found
    # A larger rise gives more events, but of conversions fewer failures: these are in balance at a mean rate of 1/2.
    if inputs.kind == "funnel":
        largest = 1 - 2 * inputs.baseline
    if largest <= found:
        return None
    return _smallest(lambda difference: detects(inputs, rule, difference, size), largest)


def _smallest(is_enough: Callable[[float], bool], largest: float) -> float | None:
    """Return the smallest number that is enough, to the last digits, by bisection on a logarithmic scale."""
    low, high = math.log(largest) - 690, math.log(largest)
    if not is_enough(math.exp(high)) or is_enough(math.exp(low)):
        return None
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if middle in {low, high}:
            break
        low, high = (low, middle) if is_enough(math.exp(middle)) else (middle, high)
    return math.exp(high)


def rule_of_2022_size(baseline: Fraction, difference: Fraction) -> int:
    """Return PostHog's figure of 2022 for proportions: 16 p q / d^2 rounded up, roughly alpha 0.05 and power 0.8."""
    return math.ceil(16 * baseline * (1 - baseline) / difference**2)


def rule_of_2022_difference(baseline: Fraction, size: float) -> float:
    """Return the difference for which ``rule_of_2022_size`` gives a size."""
    return 4 * math.sqrt(float(baseline * (1 - baseline)) / size)


def rule_of_2022_days(events_per_day: Fraction, changed_per_day: Fraction) -> float:
    """Return PostHog's figure of 2022 for counts: the days until the roots of both totals are 4 apart."""
    with localcontext(prec=60):  # the roots of close numbers nearly cancel
        first = (Decimal(events_per_day.numerator) / events_per_day.denominator).sqrt()
        second = (Decimal(changed_per_day.numerator) / changed_per_day.denominator).sqrt()
        return float(4 / (first - second) ** 2) if first != second else math.inf


def rule_of_2022_change(events_per_day: float, days: float) -> float:
    """Return the rise in events per day for which ``rule_of_2022_days`` gives a number of days."""
    return 4 / math.sqrt(days) * math.sqrt(events_per_day) + 4 / days


def round_to_tenth(value: float) -> float:
    """Round as browsers do, halves up."""
    return float(Decimal(value).quantize(Decimal("0.1"), rounding=ROUND_HALF_UP)) if abs(value) < 1e15 else value
