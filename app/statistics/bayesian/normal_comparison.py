"""Comparison of normal posteriors: closed forms for pairs, and the shared grid for win probabilities."""

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import NormalDist

import numpy as np

from app.statistics.bayesian.comparison import Comparison, compare
from app.statistics.numerics.log_densities import Array
from app.statistics.numerics.quadrature import QuadratureError
from app.statistics.posteriors import NormalPosterior

_LARGEST_SPREAD = 1e5
_REACH = 12.0  # in deviations: the probability beyond is below 1e-32
_STANDARD_NORMAL = NormalDist()


def compare_normals(posteriors: Sequence[NormalPosterior]) -> Comparison:
    """Compare normal posteriors, the baseline first, at any distance from each other.

    The grid's nodes are rounded to the distance between variables. Where that is much larger than their deviations it
    is reduced first, which keeps all probabilities and changes losses by the reduction.

    Raises
    ------
    ValueError
        For fewer than two posteriors.
    QuadratureError
        When deviations differ by more than five orders of magnitude.
    """
    deviations = [one.deviation for one in posteriors]
    if max(deviations) > _LARGEST_SPREAD * min(deviations):
        raise QuadratureError("standard errors are too different for one axis")
    cut = _removable_distances(posteriors)
    near = [NormalPosterior(one.mean - less, one.deviation) for one, less in zip(posteriors, cut.tolist(), strict=True)]
    comparison = compare(near)
    pairs = [_pair(one, posteriors[0]) for one in posteriors]
    return replace(
        comparison,
        probabilities_to_beat_control=np.array([0.5, *(beats for beats, _ in pairs[1:])]),
        losses_against_control=np.array([loss for _, loss in pairs]),
        losses_against_all=comparison.losses_against_all + (cut.max() - cut),
        means=np.array([one.mean for one in posteriors]),
    )


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


def _pair(one: NormalPosterior, baseline: NormalPosterior) -> tuple[float, float]:
    """Return P(X > X_0) and E[(X_0 - X)^+]."""
    deviation = math.hypot(one.deviation, baseline.deviation)
    z = (one.mean - baseline.mean) / deviation
    beats = math.erfc(-z / math.sqrt(2)) / 2
    return beats, max(deviation * (_STANDARD_NORMAL.pdf(z) - z * math.erfc(z / math.sqrt(2)) / 2), 0.0)
