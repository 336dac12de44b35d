"""Tail probabilities of Beta and binomial distributions, to full relative accuracy at a cost independent of counts."""

import math

import numpy as np

from app.statistics.kernel import BetaKernel, log_ratio
from app.statistics.posterior import BetaPosterior
from app.statistics.quadrature import gauss_legendre

# Where panels end: the density has fallen by these exponents. Beyond the last 1e-18 of the tail is left.
_DROPS = np.array([1.0, 4.0, 9.0, 16.0, 25.0, 36.0, 42.0])
_NODES = 16


def beta_tails(posterior: BetaPosterior, odds: float) -> tuple[float, float]:
    """Return P(X <= x) and P(X > x) of a Beta variable at x = odds / (1 + odds).

    The smaller one is integrated from x outwards, so that it is accurate however small it is (relative error about
    1e-13); the other is its complement.
    """
    kernel = BetaKernel([posterior])
    [u] = log_ratio(np.array([odds]), posterior.alpha / posterior.beta)
    outward = 1.0 if u >= 0 else -1.0
    tail = _tail_from(kernel, float(u), outward)
    return (1 - tail, tail) if outward > 0 else (tail, 1 - tail)


def binomial_tails(successes: int, trials: int, odds: float) -> tuple[float, float]:
    r"""Return P(K <= successes) and P(K >= successes) for K binomial with success odds ``odds``.

    By :math:`P(K \ge k) = P(\mathrm{Beta}(k, n - k + 1) \le p)` (DLMF 8.17.5).

    Raises
    ------
    ValueError
        When the counts are no outcome of a binomial experiment, or odds are not positive.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes in {trials} trials are impossible")
    if not (math.isfinite(odds) and odds > 0):
        raise ValueError(f"odds must be a positive number, got {odds!r}")
    low = high = 1.0
    if successes < trials:
        _, low = beta_tails(BetaPosterior(successes + 1, trials - successes), odds)
    if successes > 0:
        high, _ = beta_tails(BetaPosterior(successes, trials - successes + 1), odds)
    return low, high


def poisson_comparison(control_count: int, test_count: int, exposure_ratio: float) -> float:
    r"""Return the two-sided p-value of equal rates of two Poisson counts, conditional on their sum.

    Parameters
    ----------
    exposure_ratio
        The test's exposure, as a ratio to control's.

    Notes
    -----
    Given the sum n of both counts, the test's count is binomial with odds ``exposure_ratio``;
    :math:`p = \min(1, 2 \min(P[K \le k], P[K \ge k]))`.

    References
    ----------
    J. Przyborowski and H. Wilenski, *Homogeneity of results in testing samples from Poisson series*, Biometrika 31
    (1940).
    """
    low, high = binomial_tails(test_count, control_count + test_count, exposure_ratio)
    return min(1.0, 2 * min(low, high))


def _tail_from(kernel: BetaKernel, u: float, outward: float) -> float:
    """Integrate the density from ``u`` outwards."""
    here = np.array([[u]])
    level = kernel.log_density(here)[0, 0]
    # A normal curve would fall by the next exponent at this distance; Newton's method finds where this one does.
    ends = outward * np.sqrt(u * u + 2 * _DROPS * kernel.scale[0] ** 2)[None]
    for _ in range(4):
        ends = ends - (kernel.log_density(ends) - (level - _DROPS)) / kernel.slope(ends)
    rule = gauss_legendre(_NODES)
    edges = np.concatenate(([u], ends[0]))
    half = np.abs(np.diff(edges)) / 2
    nodes = ((edges[:-1] + edges[1:]) / 2)[:, None] + half[:, None] * rule.nodes
    density = np.exp(kernel.log_density(nodes[None])[0])
    return min(1.0, float((density @ rule.weights) @ half / kernel.mass[0]))
