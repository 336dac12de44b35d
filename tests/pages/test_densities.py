"""Density curves integrate to 1, and have the posterior's mean."""

import numpy as np
import pytest

from app.pages.densities import POINTS, density
from app.statistics.posteriors import BetaPosterior, GammaPosterior, NormalPosterior, Posterior

POSTERIORS = [
    BetaPosterior.from_counts(0, 0),
    BetaPosterior.from_counts(3, 97),
    BetaPosterior.from_counts(10**8, 9 * 10**8),
    GammaPosterior.from_counts(40, 100.0),
    GammaPosterior.from_counts(10**7, 1e9),
    NormalPosterior(-3.0, 0.25),
    NormalPosterior(1e9, 1e-3),
]


@pytest.mark.parametrize("posterior", POSTERIORS, ids=str)
def test_curve_holds_all_probability_around_the_mean(posterior: Posterior) -> None:
    x, y = density(posterior)

    probability = np.trapezoid(y, x)
    center = np.trapezoid(y * (x - posterior.mean), x)
    assert len(x) == len(y) == POINTS
    assert np.isfinite(y).all()
    assert probability == pytest.approx(1, abs=1e-3)
    assert abs(center) < 1e-2 * (x[-1] - x[0])


@pytest.mark.parametrize(("successes", "failures"), [(0, 50), (50, 0)])
def test_curve_ends_where_rates_do(successes: int, failures: int) -> None:
    x, y = density(BetaPosterior.from_counts(successes, failures))

    assert 0 <= x[0] < x[-1] <= 1
    assert np.isfinite(y).all()
