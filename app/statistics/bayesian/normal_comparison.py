"""Comparison of normal posteriors: closed forms for pairs, and the shared grid for win probabilities."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from app.statistics.bayesian.comparison import compare
from app.statistics.numerics.log_densities import Array
from app.statistics.numerics.quadrature import QuadratureError
from app.statistics.posteriors import NormalPosterior

_LARGEST_SPREAD = 1e12  # of deviations on one grid: beyond, its edges cannot tell places of the narrowest one apart
_POINT = 1e-6  # a known mean as a share of the narrowest deviation: probabilities change by its square
_REACH = 12.0  # in deviations: the probability beyond is below 1e-32
_STANDARD_NORMAL = NormalDist()


@dataclass(frozen=True)
class NormalComparison:
    """The comparison of k normal variables, the baseline first.

    Attributes
    ----------
    win_probabilities, losses_against_all : float64[k], or None
        As those of ``Comparison``. None where one axis cannot hold all variables.
    probabilities_to_beat_control, probabilities_to_lose_to_control, losses_against_control : float64[k]
        By closed forms, at any distance and with any deviations. nan where neither variable of a pair varies.
    """

    win_probabilities: Array | None
    losses_against_all: Array | None
    probabilities_to_beat_control: Array
    probabilities_to_lose_to_control: Array
    losses_against_control: Array


def compare_normals(means: Sequence[float], deviations: Sequence[float]) -> NormalComparison:
    """Compare normal variables, the baseline first, at any distance from each other; a deviation may be 0.

    Raises
    ------
    ValueError
        For fewer than two variables.
    """
    if len(means) < 2:
        raise ValueError(f"need at least two variables, got {len(means)}")
    pairs = [
        _pair(mean - means[0], math.hypot(one, deviations[0])) for mean, one in zip(means, deviations, strict=True)
    ]
    beats, loses, losses, gains = (np.array(part) for part in zip(*pairs, strict=True))
    beats[0] = loses[0] = 0.5
    wins: Array | None
    losses_against_all: Array | None
    if len(means) == 2:
        is_known = not math.isnan(beats[1])
        wins = np.array([loses[1], beats[1]]) if is_known else None
        losses_against_all = np.array([gains[1], losses[1]]) if is_known else None
    else:
        wins, losses_against_all = _on_one_axis(means, deviations)
    return NormalComparison(wins, losses_against_all, beats, loses, losses)


def _on_one_axis(means: Sequence[float], deviations: Sequence[float]) -> tuple[Array | None, Array | None]:
    """Return win probabilities and losses against all others, from the shared grid.

    The grid's places are relative to its first variable, and rounded to the distance from it: the narrowest is first.
    Where distances are much larger than deviations they are reduced, which keeps all probabilities and changes losses
    by the reduction.
    """
    known = min((one for one in deviations if one > 0), default=0.0) * _POINT
    narrow = [one or known for one in deviations]
    if not 0 < max(narrow) <= _LARGEST_SPREAD * min(narrow):
        return None, None
    order = sorted(range(len(means)), key=lambda index: narrow[index])
    posteriors = [NormalPosterior(means[index], narrow[index]) for index in order]
    cut = _removable_distances(posteriors)
    near = [NormalPosterior(one.mean - less, one.deviation) for one, less in zip(posteriors, cut.tolist(), strict=True)]
    try:
        comparison = compare(near)
    except QuadratureError:
        return None, None
    wins, losses = np.empty(len(means)), np.empty(len(means))
    wins[order] = comparison.win_probabilities
    losses[order] = comparison.losses_against_all + (cut.max() - cut)
    return wins, losses


def _removable_distances(posteriors: Sequence[NormalPosterior]) -> Array:
    """Return the amounts by which means can be lowered until the variables' supports have no gap between them."""
    cut = np.zeros(len(posteriors))
    order = sorted(
        range(len(posteriors)), key=lambda index: posteriors[index].mean - _REACH * posteriors[index].deviation
    )
    total, reached = 0.0, posteriors[order[0]].mean
    for index in order:
        one = posteriors[index]
        total += max(one.mean - _REACH * one.deviation - reached, 0.0)
        reached = max(reached, one.mean + _REACH * one.deviation)
        cut[index] = total
    return cut


def _pair(difference: float, deviation: float) -> tuple[float, float, float, float]:
    """Return P(D > 0), P(D < 0), E[(-D)^+] and E[D^+] of a normal difference D."""
    if not deviation > 0:
        return math.nan, math.nan, math.nan, math.nan
    z = difference / deviation
    beats, loses = math.erfc(-z / math.sqrt(2)) / 2, math.erfc(z / math.sqrt(2)) / 2
    density = _STANDARD_NORMAL.pdf(z)
    return beats, loses, max(deviation * (density - z * loses), 0.0), max(deviation * (density + z * beats), 0.0)
