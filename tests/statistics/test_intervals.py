"""Quantiles, credible intervals and relative uplift."""

import pytest
from app.statistics.uplift import probability_above, relative_uplift
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mpf, quad

from app.statistics.intervals import equal_tailed_intervals, highest_density_intervals, quantiles
from app.statistics.posterior import BetaPosterior, GammaPosterior, Posterior
from tests.statistics.reference import breakpoints, cdf, density

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
def test_an_equal_tailed_interval_leaves_the_same_on_both_sides(posterior: Posterior) -> None:
    [[low, high]] = equal_tailed_intervals([posterior], 0.95)

    assert abs(cdf(posterior, mpf(low)) - mpf("0.025")) < 1e-12
    assert abs(cdf(posterior, mpf(high)) - mpf("0.975")) < 1e-12


@pytest.mark.parametrize("posterior", POSTERIORS, ids=str)
def test_a_highest_density_interval_holds_its_level_and_is_no_longer(posterior: Posterior) -> None:
    [[low, high]] = highest_density_intervals([posterior], 0.9)
    [[tail_low, tail_high]] = equal_tailed_intervals([posterior], 0.9)

    assert abs(cdf(posterior, mpf(high)) - cdf(posterior, mpf(low)) - mpf("0.9")) < 1e-12
    assert high - low <= (tail_high - tail_low) * (1 + 1e-12)


@pytest.mark.parametrize("posterior", [beta(10, 90), beta(3, 1), gamma(300, 1000.0)], ids=str)
def test_both_ends_of_a_highest_density_interval_are_equally_dense(posterior: Posterior) -> None:
    [[low, high]] = highest_density_intervals([posterior])

    assert float(density(posterior, mpf(low)) / density(posterior, mpf(high))) == pytest.approx(1, abs=1e-9)


@given(successes=st.integers(0, 10**9), failures=st.integers(0, 10**9), level=st.floats(0.01, 0.999))
def test_intervals_grow_with_their_level_and_hold_the_median(successes: int, failures: int, level: float) -> None:
    posterior = beta(successes, failures)
    [[low, high]] = equal_tailed_intervals([posterior], level)
    [[median]] = quantiles([posterior], [0.5])

    assert 0 <= low <= median <= high <= 1


@pytest.mark.parametrize(("variant", "control"), [(beta(18, 82), beta(10, 90)), (beta(3, 40), beta(9, 30))])
def test_quantiles_of_uplift_are_those_of_the_ratio(variant: BetaPosterior, control: BetaPosterior) -> None:
    uplift = relative_uplift(variant, control)

    for expected, found in zip(
        (0.025, 0.5, 0.975), (uplift.interval[0], uplift.median, uplift.interval[1]), strict=True
    ):
        ratio = mpf(found) + 1
        points = sorted({*breakpoints([control]), min(mpf(1), 1 / ratio)})
        below = quad(lambda x, m=ratio: density(control, x) * cdf(variant, min(mpf(1), m * x)), points)
        assert abs(below - expected) < 1e-10


def test_uplift_of_counts_is_the_odds_of_a_beta_variable() -> None:
    uplift = relative_uplift(gamma(30, 2.0), gamma(20, 1.0))
    share = [mpf(end + 1) * 2 / (1 + mpf(end + 1) * 2) for end in uplift.interval]

    assert abs(cdf(BetaPosterior(31, 21), share[0]) - mpf("0.025")) < 1e-12
    assert abs(cdf(BetaPosterior(31, 21), share[1]) - mpf("0.975")) < 1e-12
    assert uplift.mean == pytest.approx(31 / 2 / 20 - 1)


def test_uplift_has_no_mean_where_control_may_be_zero() -> None:
    assert relative_uplift(beta(3, 7), beta(0, 10)).mean is None


@given(counts=st.tuples(*[st.integers(0, 10**7)] * 4))
def test_uplift_is_positive_as_often_as_the_variant_beats_control(counts: tuple[int, int, int, int]) -> None:
    variant, control = beta(*counts[:2]), beta(*counts[2:])
    above, reverse = probability_above(variant, control, 0.0), probability_above(control, variant, 0.0)

    assert above + reverse == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("level", [0, 1, -0.5, float("nan")])
def test_a_level_lies_between_zero_and_one(level: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        equal_tailed_intervals([beta(1, 1)], level)
