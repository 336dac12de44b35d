"""Tail probabilities, to full relative accuracy at a cost independent of counts."""

import math
from collections.abc import Sequence

import numpy as np

from app.statistics.numerics.log_densities import Array, BetaKernel, log_ratio
from app.statistics.numerics.quadrature import gauss_legendre
from app.statistics.posteriors import BetaPosterior

# Panels end where the density has fallen by these exponents. Beyond the last, 1e-18 of the tail is left.
_DROPS = np.array([1.0, 4.0, 9.0, 16.0, 25.0, 36.0, 42.0])
_NODES = 16
_LARGEST_ODDS = 1e300


def beta_tails(variables: Sequence[BetaPosterior], odds: Array) -> tuple[Array, Array]:
    """Return P(X <= x) and P(X > x) of each variable, at x = odds / (1 + odds).

    The smaller one is integrated from x outwards, so that it is accurate even where it is tiny (relative error about
    1e-13; rounded logarithms make it 4e-13 at 1e-280); the other is its complement.
    """
    kernel = BetaKernel(variables)
    u = log_ratio(odds, kernel.center)
    outward = np.where(u >= 0, 1.0, -1.0)
    tail = _tails_from(kernel, u, outward)
    return np.where(outward > 0, 1 - tail, tail), np.where(outward > 0, tail, 1 - tail)


def binomial_tails(successes: Sequence[int], trials: Sequence[int], odds: Sequence[float]) -> tuple[Array, Array]:
    r"""Return P(K <= successes) and P(K >= successes) for each K binomial with success odds ``odds``.

    By :math:`P(K \ge k) = P(\mathrm{Beta}(k, n - k + 1) \le p)` (DLMF 8.17.5).

    Raises
    ------
    ValueError
        When successes are not between 0 and trials, or odds are not positive.
    """
    for k, n, chance in zip(successes, trials, odds, strict=True):
        if not 0 <= k <= n:
            raise ValueError(f"successes must be between 0 and {n} trials, got {k}")
        if not (math.isfinite(chance) and chance > 0):
            raise ValueError(f"odds must be a positive number, got {chance!r}")
    pairs = list(zip(successes, trials, strict=True))
    # At the ends, where one of the tails is 1, the parameters do not matter.
    upper = [BetaPosterior(k + 1, max(n - k, 1)) for k, n in pairs]
    lower = [BetaPosterior(max(k, 1), n - k + 1) for k, n in pairs]
    below, above = beta_tails([*upper, *lower], np.array([*odds, *odds]))
    low, high = above[: len(pairs)], below[len(pairs) :]
    low[[k == n for k, n in pairs]] = 1.0
    high[[k == 0 for k, _ in pairs]] = 1.0
    return low, high


def poisson_comparison(control_count: int, test_counts: Sequence[int], exposure_ratios: Sequence[float]) -> Array:
    r"""Return two-sided p-values of Poisson counts against control's at equal rates, conditional on their sum.

    Parameters
    ----------
    exposure_ratios
        The tests' exposures, as ratios to control's.

    Notes
    -----
    Given the sum n of both counts, the test's count is binomial with odds ``exposure_ratio``;
    :math:`p = \min(1, 2 \min(P[K \le k], P[K \ge k]))`.

    References
    ----------
    J. Przyborowski and H. Wilenski, *Homogeneity of results in testing samples from Poisson series*, Biometrika 31
    (1940).
    """
    low, high = binomial_tails(test_counts, [control_count + count for count in test_counts], exposure_ratios)
    return np.asarray(np.minimum(1.0, 2 * np.minimum(low, high)))


def student_p_values(t: Array, degrees: Array) -> Array:
    r"""Return two-sided p-values of Student's t: :math:`P(\mathrm{Beta}(\nu/2, 1/2) \le \nu/(\nu + t^2))`."""
    with np.errstate(divide="ignore", over="ignore"):
        odds = np.clip(degrees / t**2, 1 / _LARGEST_ODDS, _LARGEST_ODDS)
    below, _ = beta_tails([BetaPosterior(degree / 2, 0.5) for degree in degrees.tolist()], odds)
    return np.where(t == 0, 1.0, below)


def chi_square_p_value(statistic: float, degrees: int) -> float:
    """Return the probability that a chi-square variable is at least ``statistic``, by a finite sum (DLMF 8.8.10)."""
    half = statistic / 2
    if not half > 0:
        return 1.0
    # From Q(1/2, x) or Q(1, x) up to Q(degrees / 2, x); every term is positive.
    order = degrees % 2 / 2 or 1.0
    total = math.erfc(math.sqrt(half)) if degrees % 2 else math.exp(-half)
    while order < degrees / 2:
        total += math.exp(order * math.log(half) - half - math.lgamma(order + 1))
        order += 1
    return min(total, 1.0)


def _tails_from(kernel: BetaKernel, u: Array, outward: Array) -> Array:
    """Integrate each density from ``u`` outwards."""
    here = u[:, None]
    level = kernel.log_density(here)
    # A normal density would fall by the next exponent at this distance, and a log-concave one falls at least as steeply
    # as where it starts, which is much nearer in a far tail; Newton's method refines it.
    as_normal = np.sqrt(here * here + 2 * _DROPS * kernel.scale[:, None] ** 2)
    with np.errstate(divide="ignore"):
        as_exponential = np.abs(here) + _DROPS / np.abs(kernel.slope(here))
    ends = outward[:, None] * np.minimum(as_normal, as_exponential)
    for _ in range(4):
        ends = ends - (kernel.log_density(ends) - (level - _DROPS)) / kernel.slope(ends)
    rule = gauss_legendre(_NODES)
    edges = np.concatenate((here, ends), axis=1)
    half = np.abs(np.diff(edges)) / 2
    nodes = ((edges[:, :-1] + edges[:, 1:]) / 2)[:, :, None] + half[:, :, None] * rule.nodes
    density = np.exp(kernel.log_density(nodes))
    return np.asarray(np.minimum(1.0, ((density @ rule.weights) * half).sum(axis=1) / kernel.mass))
