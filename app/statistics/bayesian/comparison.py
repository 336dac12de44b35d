"""Comparison of posteriors: win probabilities, probabilities to beat control, and expected losses."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.statistics.numerics.log_densities import Array, kernel_of
from app.statistics.numerics.quadrature import QuadratureError, SharedGrid
from app.statistics.posteriors import Posterior

_TOLERANCE = 1e-10


@dataclass(frozen=True)
class Comparison:
    r"""The results of one pass over the shared grid for k variants, the first being control.

    The formulas are those where the highest value is the best. Where the lowest one is, :math:`F` and :math:`1 - F`
    change places, and losses are what is above the lowest.

    Attributes
    ----------
    win_probabilities : float64[k]
        :math:`P_i = \int f_i \prod_{j \ne i} F_j`: the probability that the variant is the best. Sums to 1.
    probabilities_to_beat_control : float64[k]
        :math:`\int f_i F_0`; 0.5 for control itself.
    probabilities_to_lose_to_control : float64[k]
        :math:`\int f_i (1 - F_0)`: not 1 minus the above, so that each is accurate where it is tiny.
    losses_against_control : float64[k]
        :math:`E[(X_0 - X_i)^+] = \int F_i (1 - F_0) dx`: rate lost on average by choosing the variant over control.
    losses_against_all : float64[k]
        :math:`E[(\max_{j \ne i} X_j - X_i)^+] = \int F_i (1 - \prod_{j \ne i} F_j) dx`.
    means : float64[k]
        Posterior means.
    sum_error, mass_error : float
        The two checks of every call: the deviation of the sum of win probabilities from 1, and of densities' integrals
        from their closed forms.
    grid : SharedGrid
        For quantiles of the same posteriors.
    """

    win_probabilities: Array
    probabilities_to_beat_control: Array
    probabilities_to_lose_to_control: Array
    losses_against_control: Array
    losses_against_all: Array
    means: Array
    sum_error: float
    mass_error: float
    grid: SharedGrid


def compare(posteriors: Sequence[Posterior], *, lowest_is_best: bool = False) -> Comparison:
    """Compare posteriors of one family, control first.

    Absolute error of probabilities and of losses (in rate) below 1e-12 for up to 20 variants and counts up to 1e9. The
    same input gives the same bits: nothing is sampled.

    Raises
    ------
    ValueError
        For fewer than two posteriors, or mixed families.
    QuadratureError
        When a check fails; such an input is not known.
    """
    if len(posteriors) < 2:
        raise ValueError(f"need at least two posteriors, got {len(posteriors)}")
    grid = SharedGrid.covering(kernel_of(posteriors))
    below, above = (grid.survival, grid.cdf) if lowest_is_best else (grid.cdf, grid.survival)
    log_others = _log_product_of_others(_log_probability(below, above))
    mass = grid.density * grid.weights
    wins = np.einsum("kpn,kpn->k", mass, np.exp(log_others))
    total = float(wins.sum())
    if abs(total - 1) > _TOLERANCE:
        raise QuadratureError(f"win probabilities sum to 1 only within {abs(total - 1):.1e}")
    beats, loses = (np.minimum(np.einsum("kpn,pn->k", mass, part[0]), 1.0) for part in (below, above))
    beats[0] = loses[0] = 0.5
    measure = _value_weights(grid)
    against_control = np.einsum("kpn,pn->k", below, above[0] * measure)
    against_all = np.einsum("kpn,kpn,pn->k", below, -np.expm1(log_others), measure)
    return Comparison(
        win_probabilities=wins / total,
        probabilities_to_beat_control=beats,
        probabilities_to_lose_to_control=loses,
        losses_against_control=against_control,
        losses_against_all=against_all,
        means=np.array([posterior.mean for posterior in posteriors]),
        sum_error=abs(total - 1),
        mass_error=grid.mass_error,
        grid=grid,
    )


def _log_probability(probability: Array, complement: Array) -> Array:
    """Return log p from whichever of p and 1 - p is small; minus infinity where p underflows."""
    logarithm = np.full_like(probability, -np.inf)
    np.log(probability, out=logarithm, where=probability > 0)
    return np.where(complement < 0.5, np.log1p(-np.minimum(complement, 0.5)), logarithm)


def _log_product_of_others(logarithms: Array) -> Array:
    """Return for each variable the sum of all others' logarithms, without subtracting its own from a total."""
    others = np.zeros_like(logarithms)
    np.cumsum(logarithms[:-1], axis=0, out=others[1:])
    others[:-1] += np.cumsum(logarithms[:0:-1], axis=0)[::-1]
    return others


def _value_weights(grid: SharedGrid) -> Array:
    """Return weights of the integral over the rate itself, [p, n].

    Between variants that are far apart the rate is not a smooth function of the axis, but all distribution functions
    are constant there: such a panel only needs its exact width.
    """
    first = slice(0, 1)
    jacobian = np.exp(grid.kernel.log_jacobian(grid.nodes[None], first))[0]
    weights = grid.weights * jacobian
    if grid.is_gap.any():
        ends = grid.kernel.value(grid.edges[None], first)[0]
        weights = np.where(grid.is_gap[:, None], np.diff(ends)[:, None] * grid.rule.weights / 2, weights)
    return np.asarray(weights)
