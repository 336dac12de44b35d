"""Quantiles and credible intervals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mpf

from app.statistics.bayesian.intervals import equal_tailed_intervals, quantiles
from app.statistics.posteriors import BetaPosterior, GammaPosterior
from tests.statistics.reference import Posterior, cdf

beta = BetaPosterior.from_counts
gamma = GammaPosterior.from_counts

POSTERIORS = [
    beta(10, 90),
    beta(0, 0),
    beta(0, 1000),
    beta(1000, 0),
    beta(122, 21_184),
    gamma(300, 1000.0),
    gamma(0, 10.0),
    gamma(5, 0.1),
]


@pytest.mark.parametrize("posterior", POSTERIORS, ids=str)
def test_equal_tailed_interval_leaves_equal_tails(posterior: Posterior) -> None:
    [[low, high]] = equal_tailed_intervals([posterior], 0.95)

    assert abs(cdf(posterior, mpf(low)) - mpf("0.025")) < 1e-12
    assert abs(cdf(posterior, mpf(high)) - mpf("0.975")) < 1e-12


@given(successes=st.integers(0, 10**9), failures=st.integers(0, 10**9), level=st.floats(0.01, 0.999))
def test_interval_grows_with_level_and_contains_median(successes: int, failures: int, level: float) -> None:
    posterior = beta(successes, failures)
    [[low, high]] = equal_tailed_intervals([posterior], level)
    [[median]] = quantiles([posterior], [0.5])

    assert 0 <= low <= median <= high <= 1


@pytest.mark.parametrize("level", [0, 1, -0.5, float("nan")])
def test_level_outside_zero_and_one_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        equal_tailed_intervals([beta(1, 1)], level)
