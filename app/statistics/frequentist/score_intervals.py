r"""Score intervals of differences and ratios of rates, for rates that were observed as 0 or 1.

There Wald's standard error is 0, and an interval built on it claims more than the data say. A score interval contains
the values at which

.. math:: z(\delta) = \frac{\hat p_1 - \hat p_0 - \delta}{\sqrt{p_1 q_1 / n_1 + p_0 q_0 / n_0}}, \qquad
    z(\theta) = \frac{\hat p_1 - \theta \hat p_0}{\sqrt{p_1 q_1 / n_1 + \theta^2 p_0 q_0 / n_0}}

lies within the critical value, where p_1 and p_0 are the most likely rates that differ by :math:`\delta`, or have the
ratio :math:`\theta`. Both exclude equality exactly when the pooled z test does. For events per exposure, variances are
the rates themselves.

References
----------
O. Miettinen and M. Nurminen, *Comparative analysis of two rates*, Statistics in Medicine 4 (1985).
P. A. R. Koopman, *Confidence intervals for the ratio of two binomial proportions*, Biometrics 40 (1984).
"""

import math
from collections.abc import Callable

from app.statistics.estimates import Interval
from app.statistics.variants import CountVariant, FunnelVariant, MetricVariant

_MAX_STEPS = 200
_ROUNDING = 4e-16


def is_degenerate(baseline: MetricVariant, test: MetricVariant) -> bool:
    """Whether one of two rates is observed as 0, or a conversion rate as 1."""
    return any(
        (isinstance(one, FunnelVariant) and 0 in {one.success_count, one.failure_count})
        or (isinstance(one, CountVariant) and one.count == 0)
        for one in (baseline, test)
    )


def score_difference(baseline: MetricVariant, test: MetricVariant, factor: float) -> Interval | None:
    """Return the score interval of the difference of two rates of which one is degenerate.

    ``factor`` is the critical value of z. None for other kinds of metrics.
    """
    if isinstance(baseline, FunnelVariant) and isinstance(test, FunnelVariant):
        return _difference_of_conversions(baseline, test, factor)
    if isinstance(baseline, CountVariant) and isinstance(test, CountVariant):
        if test.count == 0:
            return _difference_of_counts(test.exposure, baseline, factor)
        return _mirrored(_difference_of_counts(baseline.exposure, test, factor))
    return None


def score_relative_difference(baseline: MetricVariant, test: MetricVariant, factor: float) -> Interval | None:
    """Return the score interval of the ratio of two rates, minus 1; None where the baseline's rate is 0."""
    if isinstance(baseline, FunnelVariant) and isinstance(test, FunnelVariant) and baseline.success_count > 0:
        return _relative_difference_of_conversions(baseline, test, factor)
    if isinstance(baseline, CountVariant) and isinstance(test, CountVariant) and baseline.count > 0:
        # Only the test's count is 0 here: z^2 = theta count e_1 / e_0.
        return -1.0, factor * factor / baseline.count * (baseline.exposure / test.exposure) - 1
    return None


def pooled_z(baseline: MetricVariant, test: MetricVariant) -> float:
    """Return the difference of two rates in standard errors under the hypothesis that they are equal; 0 for none."""
    if isinstance(baseline, FunnelVariant) and isinstance(test, FunnelVariant):
        total = baseline.total + test.total
        successes = baseline.success_count + test.success_count
        variance = successes / total * ((total - successes) / total) * (1 / baseline.total + 1 / test.total)
        difference = test.rate - baseline.rate
    elif isinstance(baseline, CountVariant) and isinstance(test, CountVariant):
        pooled = (baseline.count + test.count) / (baseline.exposure + test.exposure)
        variance = pooled / baseline.exposure + pooled / test.exposure
        difference = test.count / test.exposure - baseline.count / baseline.exposure
    else:
        raise ValueError(f"need two conversion rates or two counts, got {type(baseline)} and {type(test)}")
    return difference / math.sqrt(variance) if variance > 0 else 0.0


def _difference_of_conversions(baseline: FunnelVariant, test: FunnelVariant, factor: float) -> Interval:
    """Reduce the four degenerate cases to one: the first rate is 0."""
    for one, other, is_test in ((test, baseline, True), (baseline, test, False)):
        for successes, hits, misses, is_plain in (
            (one.success_count, other.success_count, other.failure_count, True),
            (one.failure_count, other.failure_count, other.success_count, False),
        ):
            if successes == 0:
                found = _difference_from_zero(one.total, hits, misses, factor)
                return found if is_test == is_plain else _mirrored(found)
    raise ValueError("need a rate of 0 or 1")


def _difference_from_zero(own: int, hits: int, misses: int, factor: float) -> Interval:
    """Return the interval of 0 of ``own`` minus ``hits`` of ``hits + misses``."""
    n = hits + misses
    square = factor * factor

    def excess(distance: float) -> float:
        """Return how far the difference ``distance`` above the observed one is beyond the critical value."""
        difference = distance - hits / n
        other, rest = _constrained_rate(own, hits, misses, difference)
        rate = other + difference
        if rate < 0:
            rate, other, rest = 0.0, -difference, misses / n + distance
        variance = rate * max(rest - difference, 0.0) / own + other * rest / n
        return distance - factor * math.sqrt(variance)

    # Below the observed difference the first rate stays 0, and Wilson's limit of the second remains.
    if math.isinf(factor):
        return -1.0, 1.0
    center = hits / n + square / (2 * n)
    reach = factor * math.sqrt(hits / n * (misses / n) / n + square / (4 * n * n))
    wilson = min((center + reach) / (1 + square / n), 1.0)
    return -wilson, min(_last(excess, 1 + hits / n) - hits / n, 1.0)


def _constrained_rate(own: int, hits: int, misses: int, difference: float) -> tuple[float, float]:
    """Return the most likely second rate, and 1 minus it, if the first exceeds it by ``difference``.

    A root of (own + n) y^2 - (own + n + hits - difference n) y + hits (1 - difference), in forms that do not cancel.
    """
    n = hits + misses
    if difference >= 0:
        root = math.sqrt((own + misses - difference * n) ** 2 + 4 * difference * hits * own)
    else:
        root = math.sqrt((own + misses + difference * n) ** 2 - 4 * difference * misses * (own + n))
    rate = 2 * hits * (1 - difference) / (own + n + hits - difference * n + root)
    middle = own + misses + difference * n
    rest = (middle + root) / (2 * (own + n)) if middle >= 0 else 2 * difference * misses / (middle - root)
    return rate, rest


def _relative_difference_of_conversions(baseline: FunnelVariant, test: FunnelVariant, factor: float) -> Interval:
    total = baseline.total + test.total
    gap = (test.success_count * baseline.total - baseline.success_count * test.total) / (test.total * baseline.total)
    observed = gap / baseline.rate
    if math.isinf(factor):
        return -1.0, math.inf

    def excess(relative: float) -> float:
        """Return how far a relative difference is beyond the critical value, in the baseline's rate."""
        ratio = 1 + relative
        if ratio <= 0:
            return observed - relative
        between = (test.total + baseline.success_count) * relative + test.failure_count - baseline.failure_count
        # The discriminant of the most likely rate's equation, in a form that does not cancel.
        root = math.sqrt(between**2 + 4 * ratio * test.failure_count * baseline.failure_count)
        successes = baseline.success_count + test.success_count
        middle = ratio * (test.total + baseline.success_count) + test.success_count + baseline.total
        rate = 2 * successes / (middle + root)
        rest = _rest(baseline.failure_count, test.failure_count, total, relative, root)
        own = _rest(test.failure_count, baseline.failure_count, total, -relative / ratio, root / ratio)
        variance = ratio * rate * own / test.total + ratio * ratio * rate * rest / baseline.total
        return abs(gap - relative * baseline.rate) - factor * math.sqrt(variance)

    low = -1.0
    if test.success_count > 0:
        low = observed - _last(lambda distance: excess(observed - distance), 1 + observed)
    furthest = 1.0
    while excess(observed + furthest) <= 0 and furthest < 1e300:
        furthest *= 2
    return low, observed + _last(lambda distance: excess(observed + distance), furthest)


def _rest(own: int, other: int, total: int, relative: float, root: float) -> float:
    """Return 1 minus the most likely rate of a variant with ``own`` failures, if the other's is 1 + relative times it.

    A root of (1 + r) N q^2 - (r (N + own) + own + other) q + own r.
    """
    middle = relative * (total + own) + own + other
    if middle >= 0:
        return (middle + root) / (2 * (1 + relative) * total)
    return 2 * own * relative / (middle - root)


def _difference_of_counts(exposure: float, other: CountVariant, factor: float) -> Interval:
    """Return the interval of no events in ``exposure`` minus the rate of the other variant, in closed form."""
    square, rate = factor * factor, other.count / other.exposure
    half = square / (2 * other.exposure)
    reach = factor * math.sqrt(rate / other.exposure + (factor / (2 * other.exposure)) ** 2)
    high = square / exposure - rate
    if high < -other.count / (exposure + other.exposure):  # the rate of the first would be negative
        high = -(rate + half - reach)
    return -(rate + half + reach), high


def _last(excess: Callable[[float], float], furthest: float) -> float:
    """Return the distance at which a function that rises through zero does so; ``furthest`` if it stays below.

    Chandrupatla's method: inverse quadratic interpolation where it is safe, and bisection where it is not.

    References
    ----------
    T. R. Chandrupatla, *A new hybrid quadratic/bisection algorithm*, Advances in Engineering Software 28 (1997).
    """
    # ``b`` is the latest point, ``a`` the one on the other side of zero, ``c`` the one before.
    b, a = 0.0, furthest
    fa = excess(a)
    if fa <= 0:
        return furthest
    fb = excess(b) or -fa  # nothing varies at the observed point: begin with a bisection
    share = 0.5
    for _ in range(_MAX_STEPS):
        step = b + share * (a - b)
        value = excess(step)
        if (value > 0) == (fb > 0):
            c, fc = b, fb
        else:
            c, fc, a, fa = a, fa, b, fb
        b, fb = step, value
        nearest = b if abs(fb) < abs(fa) else a
        room = _ROUNDING * nearest / abs(a - b)
        if room > 0.5 or value == 0:
            return nearest
        xi, phi = (b - a) / (c - a), (fb - fa) / (fc - fa)
        share = 0.5
        if 1 - math.sqrt(1 - xi) < phi < math.sqrt(xi):
            share = fb / (fa - fb) * fc / (fa - fc) + (c - b) / (a - b) * fb / (fc - fb) * fa / (fc - fa)
        share = min(max(share, room), 1 - room)
    return b


def _mirrored(interval: Interval) -> Interval:
    return -interval[1], -interval[0]
