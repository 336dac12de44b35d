"""Quantiles and credible intervals of posteriors."""

from collections.abc import Sequence

import numpy as np

from app.statistics.numerics.log_densities import Array, kernel_of
from app.statistics.numerics.quadrature import SharedGrid
from app.statistics.posteriors import Posterior

_HALLEY_STEPS = 2
_FURTHEST_TAIL = 1e-9  # further quantiles would need more digits of the distribution function


def equal_tailed_intervals(posteriors: Sequence[Posterior], level: float = 0.95) -> Array:
    """Return equal-tailed credible intervals, float64[k, 2].

    Relative error of the ends about 1e-14.

    Raises
    ------
    ValueError
        When ``level`` is not between 0 and 1, or families are mixed.
    """
    return equal_tailed_on(SharedGrid.covering(kernel_of(posteriors)), level)


def equal_tailed_on(grid: SharedGrid, level: float = 0.95) -> Array:
    """Return the equal-tailed intervals of the posteriors that a grid covers, float64[k, 2]."""
    tail = (1 - _level(level)) / 2
    return grid.kernel.value(_offsets(grid, np.array([tail, 1 - tail])))


def quantiles(posteriors: Sequence[Posterior], probabilities: Sequence[float]) -> Array:
    """Return quantiles of each posterior, float64[k, len(probabilities)].

    Raises
    ------
    ValueError
        When a probability is closer to 0 or 1 than 1e-9.
    """
    return kernel_of(posteriors).value(axis_quantiles(posteriors, probabilities))


def axis_quantiles(posteriors: Sequence[Posterior], probabilities: Sequence[float]) -> Array:
    """Return quantiles as distances from the mode on the axis of the family, accurate even for values near 1.

    Raises
    ------
    ValueError
        When a probability is closer to 0 or 1 than 1e-9.
    """
    wanted = np.array(probabilities, dtype=np.float64)
    if not bool(((wanted >= _FURTHEST_TAIL) & (wanted <= 1 - _FURTHEST_TAIL)).all()):
        raise ValueError(f"probabilities must lie between {_FURTHEST_TAIL} and 1 - {_FURTHEST_TAIL}, got {wanted}")
    return _offsets(SharedGrid.covering(kernel_of(posteriors)), wanted)


def _level(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level!r}")
    return level


def _offsets(grid: SharedGrid, probabilities: Array) -> Array:
    """Return quantiles as distances from each mode, float64[k, q]: linear interpolation, then Halley's method."""
    nodes = grid.nodes.ravel()
    start = np.stack([np.interp(probabilities, cdf.ravel(), nodes) for cdf in grid.cdf])
    position = start
    for _ in range(_HALLEY_STEPS):
        error = _cdf_at(grid, position) - probabilities
        step = error / _density_at(grid, position)
        slope = grid.kernel.slope(position - grid.kernel.offset[:, None])
        position = position - step / (1 - step * slope / 2)
    return position - grid.kernel.offset[:, None]


def _cdf_at(grid: SharedGrid, position: Array) -> Array:
    """Return the distribution functions anywhere on the axis, float64[k, q]: full panels, and a rule on the rest."""
    panel = np.clip(np.searchsorted(grid.edges, position, side="right") - 1, 0, len(grid.edges) - 2)
    left = grid.edges[panel]
    half = (position - left) / 2
    nodes = (left + half)[..., None] + half[..., None] * grid.rule.nodes
    part = (_density_at(grid, nodes) @ grid.rule.weights) * half
    return np.take_along_axis(grid.below, panel, axis=1) + part


def _density_at(grid: SharedGrid, position: Array) -> Array:
    kernel = grid.kernel
    shape = (len(kernel),) + (1,) * (position.ndim - 1)
    return np.exp(kernel.log_density(position - kernel.offset.reshape(shape))) / kernel.mass.reshape(shape)
