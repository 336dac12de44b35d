r"""Contrasts of variants with the baseline: exact quantiles of :math:`X_i - X_0` and of :math:`X_i / X_0`.

For independent rates the probability that a contrast lies below some value is one integral,

.. math:: P(X_i \le m X_0 + d) = \int f_0(x) \, F_i(m x + d) \, dx,

and so with the roles exchanged. The variable with the narrower distribution is integrated over, on panels of its
own: the other one's distribution function is smooth there, except at the points where m x + d leaves the range of a
rate, which become edges. Distribution functions are read off the grid on which the variants were compared. All
quantiles are solved for at once.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from app.statistics.numerics.log_densities import Array, BetaKernel, GammaKernel, Kernel
from app.statistics.numerics.quadrature import Rule, SharedGrid, gauss_legendre, panel_edges

# Panels and nodes: few are enough to find the quantiles about, and for variables that are nearly normal. A ratio's far
# tail meets the wide panels in the tails of skewed variables: at 99.99 % the few leave an error of 6e-4.
_FEW, _MANY = (4, 10), (8, 20)
_NEARLY_NORMAL = 100.0  # the least parameter of all posteriors
_MAX_STEPS = 80
_CLOSE = 1e-6  # in standard deviations: Newton's next step would be about its square
_LARGEST_LOGARITHM = 700.0
_STANDARD_NORMAL = NormalDist()

Index = NDArray[np.intp]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class ContrastIntervals:
    """Equal-tailed intervals of each variant's contrasts with the first one, float64[k - 1, 2].

    ``ratio`` is of the rates themselves: where it is 1 they are equal.
    """

    difference: Array
    ratio: Array


def contrast_intervals(grid: SharedGrid, level: float) -> ContrastIntervals:
    """Return the intervals for Beta or Gamma posteriors that were compared on a grid.

    Their ends are quantiles of the contrasts' own distributions, to 1e-9 of the intervals' widths at levels from 0.5
    to 0.9999 and for counts up to 1e9; no normal approximation is made.

    Raises
    ------
    ValueError
        When the grid is of other posteriors.
    """
    count = len(grid.kernel) - 1
    tail = (1 - level) / 2
    solver = _Solver(
        grid,
        variants=np.repeat(np.arange(1, count + 1), 4),
        is_ratio=np.tile([False, False, True, True], count),
    )
    found = solver.quantiles(np.tile([tail, 1 - tail], 2 * count)).reshape(count, 2, 2)
    return ContrastIntervals(difference=found[:, 0], ratio=np.exp(found[:, 1]))


class _Solver:
    """Finds quantiles of q contrasts: theta is a difference, or the logarithm of a ratio."""

    def __init__(self, grid: SharedGrid, variants: Index, is_ratio: Mask) -> None:
        kernel = grid.kernel
        if not isinstance(kernel, BetaKernel | GammaKernel):
            raise ValueError("need Beta or Gamma posteriors")
        self._grid, self._kernel, self._is_ratio = grid, kernel, is_ratio
        of_logarithm, of_value = _variances(kernel)
        own = np.where(is_ratio, of_logarithm[variants], of_value[variants])
        baseline = np.where(is_ratio, of_logarithm[0], of_value[0])
        means = kernel.value(np.zeros((len(kernel), 1)))[:, 0]
        self._middle = np.where(is_ratio, np.log(means[variants] / means[0]), means[variants] - means[0])
        self._scale = np.sqrt(own + baseline)
        # P(X_i <= m X_0 + d) over X_0 with F_i, or its complement over X_i with F_0 of what takes X_i back to X_0.
        self._is_over_baseline = baseline <= own
        self._outer = np.where(self._is_over_baseline, 0, variants)
        self._inner = np.where(self._is_over_baseline, variants, 0)
        self._edges, self._inner_support, self._rule = self._panels(*_FEW)
        coefficients = np.moveaxis(grid.cdf @ grid.rule.chebyshev, 2, 0)
        self._series = np.ascontiguousarray(coefficients).reshape(len(grid.rule.nodes), -1)

    def _panels(self, levels: int, nodes: int) -> tuple[Array, Array, Rule]:
        edges = panel_edges(self._kernel, levels)
        return edges[self._outer], edges[self._inner][:, [0, -1]], gauss_legendre(nodes)

    def quantiles(self, probabilities: Array) -> Array:
        """Find theta with few nodes, and from there with many where variables are skewed."""
        targets = np.array([_STANDARD_NORMAL.inv_cdf(probability) for probability in probabilities.tolist()])
        theta = self._solve(probabilities, targets, self._middle + targets * self._scale)
        if _least_parameter(self._kernel) < _NEARLY_NORMAL:
            self._edges, self._inner_support, self._rule = self._panels(*_MANY)
            theta = self._solve(probabilities, targets, theta)
        return theta

    def _solve(self, probabilities: Array, targets: Array, theta: Array) -> Array:
        """Find theta by Newton's method on normal scores, where distribution functions are nearly straight lines.

        A step that leaves the bracket is replaced by bisection.
        """
        low, high = np.full_like(theta, -np.inf), np.full_like(theta, np.inf)
        for _ in range(_MAX_STEPS):
            below, density = self._distribution(theta)
            is_low = below < probabilities
            low, high = np.where(is_low, theta, low), np.where(is_low, high, theta)
            proposed = theta + _newton_steps(below, density, targets)
            is_inside = (proposed >= low) & (proposed <= high)
            proposed = np.where(is_inside, proposed, self._inside(low, high, theta))
            moved, theta = np.abs(proposed - theta), proposed
            if bool((moved <= _CLOSE * self._scale).all()):
                break
        return np.asarray(theta)

    def _inside(self, low: Array, high: Array, theta: Array) -> Array:
        """Return the middle of each bracket; for a bracket that is open on one side, a step beyond the other."""
        is_open = np.isinf(low) | np.isinf(high)
        beyond = np.where(np.isinf(low), theta - 2 * self._scale, theta + 2 * self._scale)
        return np.where(is_open, beyond, (np.where(is_open, 0.0, low) + np.where(is_open, 0.0, high)) / 2)

    def _distribution(self, theta: Array) -> tuple[Array, Array]:
        """Return P(contrast <= theta), and the density of the contrast there."""
        kernel, rule = self._kernel, self._rule
        moved = np.where(self._is_over_baseline, theta, -theta)
        edges = np.sort(np.concatenate((self._edges, self._breaks(moved)), axis=1), axis=1)
        half = (np.diff(edges) / 2)[:, :, None]
        u = (edges[:, :-1, None] + half * (1 + rule.nodes)).reshape(len(theta), -1)
        mass = np.exp(kernel.log_density(u, self._outer)) * (half * rule.weights).reshape(u.shape)
        mass /= mass.sum(axis=1)[:, None]
        value, rest, speed = self._map(u, moved)
        is_rate = (value > 0) & (rest > 0)
        odds = np.where(is_rate, value, 1.0) / np.where(is_rate, rest, 1.0)
        inner_u = np.log(odds / kernel.center[self._inner][:, None])
        cdf = np.where(is_rate, self._cdf(inner_u), rest <= 0)
        is_dense = is_rate & (inner_u > self._inner_support[:, :1]) & (inner_u < self._inner_support[:, 1:])
        density = np.exp(kernel.log_density(np.where(is_dense, inner_u, 0.0), self._inner)) * np.where(
            is_dense, speed, 0.0
        )
        below = (mass * cdf).sum(axis=1)
        slope = (mass * density).sum(axis=1) / kernel.mass[self._inner]
        return np.where(self._is_over_baseline, below, 1 - below), slope

    def _map(self, u: Array, moved: Array) -> tuple[Array, Array, Array]:
        """Map the outer variable at ``u`` to a value of the inner one.

        Returns the value, its distance to 1 (1 for counts, which are unbounded), and the derivative by theta of the
        inner variable's position on its axis. The last two are meaningless where the value is not a rate.
        """
        odds = np.exp(u) * self._kernel.center[self._outer][:, None]
        is_ratio, moved = self._is_ratio[:, None], moved[:, None]
        log_factor, shift = _affine(moved, is_ratio)
        factor = np.exp(log_factor)
        if isinstance(self._kernel, BetaKernel):
            value = odds / (1 + odds) * factor + shift
            rest = factor / (1 + odds) - np.expm1(log_factor) - shift
            rest = np.where(factor > 2, 1 - value, rest)  # either form cancels where the other does not
        else:
            value = odds * factor + shift
            rest = np.ones_like(value)
        safe_value, safe_rest = np.where(value > 0, value, 1.0), np.where(rest > 0, rest, 1.0)
        return value, rest, np.where(is_ratio, 1.0, 1 / safe_value) / safe_rest

    def _breaks(self, moved: Array) -> Array:
        """Return the points on the outer variable's axis where the mapped value becomes 0 and 1; else an outer edge."""
        log_factor, shift = _affine(moved, self._is_ratio)
        if isinstance(self._kernel, BetaKernel):
            odds = np.stack((_quotient(-shift, 1 + shift), _quotient(1 - shift, np.expm1(log_factor) + shift)), axis=1)
        else:
            odds = -shift[:, None]
        is_there = odds > 0
        u = np.log(np.where(is_there, odds, 1.0) / self._kernel.center[self._outer][:, None])
        return np.clip(np.where(is_there, u, -np.inf), self._edges[:, :1], self._edges[:, -1:])

    def _cdf(self, inner_u: Array) -> Array:
        """Return the inner variables' distribution functions from their panels' series, by Clenshaw's algorithm."""
        edges = self._grid.edges
        count = len(edges) - 1
        position = np.clip(inner_u + self._kernel.offset[self._inner][:, None], edges[0], edges[-1])
        panel = np.clip(np.searchsorted(edges, position, side="right") - 1, 0, count - 1)
        twice = 4 * (position - edges[panel]) / np.diff(edges)[panel] - 2
        places = (panel + self._inner[:, None] * count).ravel()
        coefficients = self._series[:, places].reshape(-1, *position.shape)
        last = before = np.zeros_like(position)
        for coefficient in coefficients[:0:-1]:
            last, before = coefficient + twice * last - before, last
        return np.asarray(coefficients[0] + twice / 2 * last - before)


def _affine(moved: Array, is_ratio: Mask) -> tuple[Array, Array]:
    """Return the logarithm of the factor, and the shift, by which values are mapped."""
    return np.where(is_ratio, np.clip(moved, -_LARGEST_LOGARITHM, _LARGEST_LOGARITHM), 0.0), np.where(
        is_ratio, 0.0, moved
    )


def _quotient(numerator: Array, denominator: Array) -> Array:
    """Return positive quotients, and 0 for all others."""
    is_positive = (numerator > 0) & (denominator > 0)
    return np.where(is_positive, numerator, 0.0) / np.where(is_positive, denominator, 1.0)


def _newton_steps(below: Array, density: Array, targets: Array) -> Array:
    """Return Newton's steps on normal scores; nan where the score is too extreme to compute."""
    steps = np.full_like(below, np.nan)
    for index, (probability, slope) in enumerate(zip(below.tolist(), density.tolist(), strict=True)):
        if 1e-15 < probability < 1 - 1e-15 and slope > 0:
            score = _STANDARD_NORMAL.inv_cdf(probability)
            steps[index] = (targets[index] - score) * _STANDARD_NORMAL.pdf(score) / slope
    return steps


def _least_parameter(kernel: Kernel) -> float:
    if isinstance(kernel, BetaKernel):
        return float(min(kernel.alpha.min(), kernel.beta.min()))
    return float(kernel.scale.max() ** -2)  # of a Gamma variable the shape


def _variances(kernel: Kernel) -> tuple[Array, Array]:
    """Return the approximate variances of log X and of X."""
    if isinstance(kernel, BetaKernel):
        total = kernel.alpha + kernel.beta
        relative = kernel.beta / kernel.alpha / total
        return relative, relative * (kernel.alpha / total) ** 2
    return kernel.scale**2, kernel.scale**2 * kernel.center**2
