"""Differences and ratios of rates, held against closed forms and arbitrary precision."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mpf, quad

from app.statistics.bayesian.comparison import compare
from app.statistics.bayesian.contrasts import ContrastIntervals, contrast_intervals
from app.statistics.posteriors import BetaPosterior, GammaPosterior, NormalPosterior
from tests.statistics.reference import Posterior, breakpoints, cdf, density
from tests.support.examples import examples

LEVEL = 0.95
TAILS = (0.025, 0.975)
ACCURACY = 1e-10  # in probability

beta = BetaPosterior.from_counts
gamma = GammaPosterior.from_counts
counts = st.integers(0, 200) | st.integers(0, 10**9)


def contrasts(control: Posterior, *tests: Posterior, level: float = LEVEL) -> ContrastIntervals:
    return contrast_intervals(compare([control, *tests]).grid, level)


def below(control: BetaPosterior, test: BetaPosterior, factor: mpf, shift: mpf) -> mpf:
    """Return P(test <= factor * control + shift), by definition."""

    def chance(x: mpf) -> mpf:
        value = factor * x + shift
        return density(control, x) * cdf(test, min(max(value, mpf(0)), mpf(1)))

    bends = [(point - shift) / factor for point in breakpoints([test])]
    return quad(chance, sorted({*breakpoints([control]), *(bend for bend in bends if 0 < bend < 1)}))


@pytest.mark.parametrize(
    ("control", "test"),
    [
        (beta(10, 90), beta(18, 82)),
        (beta(20, 0), beta(15, 1)),
    ],
)
def test_interval_ends_leave_equal_tails(control: BetaPosterior, test: BetaPosterior) -> None:
    found = contrasts(control, test)

    for ratio, difference, tail in zip(found.ratio[0], found.difference[0], TAILS, strict=True):
        assert abs(below(control, test, mpf(ratio), mpf(0)) - tail) < ACCURACY
        assert abs(below(control, test, mpf(1), mpf(difference)) - tail) < ACCURACY


@settings(max_examples=examples(10))  # arbitrary precision takes its time
@given(pairs=st.tuples(st.integers(0, 40), st.integers(0, 40)), exposures=st.tuples(*[st.floats(0.01, 100)] * 2))
def test_ratio_of_counts_equals_odds_of_beta_variable(pairs: tuple[int, int], exposures: tuple[float, float]) -> None:
    control, test = (gamma(count, exposure) for count, exposure in zip(pairs, exposures, strict=True))
    [ratios] = contrasts(control, test).ratio

    for ratio, tail in zip(ratios, TAILS, strict=True):
        odds = mpf(ratio) * test.rate / control.rate
        share = odds / (1 + odds)
        assert abs(cdf(BetaPosterior(test.shape, control.shape), share) - tail) < ACCURACY


@pytest.mark.parametrize("level", [0.5, 0.95, 0.9999])
def test_ratio_of_two_counts_of_zero_has_closed_form(level: float) -> None:
    """Gamma(1) is exponential: the ratio of two has the quantiles q / (1 - q), which at 95 % are 1 / 39 and 39."""
    tail = (1 - level) / 2
    for control in (gamma(0, 1.0), gamma(0, 1e9)):
        [ratio] = contrasts(control, control, level=level).ratio
        assert ratio == pytest.approx([tail / (1 - tail), (1 - tail) / tail], rel=1e-9)


@pytest.mark.parametrize("level", [0.5, 0.95, 0.9999])
def test_difference_of_waiting_times_is_laplace_distributed(level: float) -> None:
    """Gamma(1, 1) is exponential: the difference of two has the quantiles log(2 tail) and -log(2 tail)."""
    [[low, high]] = contrasts(gamma(0, 1.0), gamma(0, 1.0), level=level).difference

    expected = -math.log(1 - level)
    assert (low, high) == (pytest.approx(-expected, rel=1e-10), pytest.approx(expected, rel=1e-10))


@pytest.mark.parametrize("level", [0.5, 0.95, 0.9999])
def test_difference_of_uniform_variables_is_triangular(level: float) -> None:
    [[low, high]] = contrasts(beta(0, 0), beta(0, 0), level=level).difference

    expected = 1 - (1 - level) ** 0.5
    assert (low, high) == (pytest.approx(-expected, rel=1e-10), pytest.approx(expected, rel=1e-10))


@given(figures=st.tuples(counts, counts, counts, counts), level=st.floats(0.5, 0.999))
def test_exchanged_variants_mirror_both_contrasts(figures: tuple[int, int, int, int], level: float) -> None:
    first, second = beta(*figures[:2]), beta(*figures[2:])
    there, back = contrasts(first, second, level=level), contrasts(second, first, level=level)

    scale = max(there.difference[0, 1] - there.difference[0, 0], 1e-300)
    assert there.difference[0] == pytest.approx(-back.difference[0, ::-1], abs=1e-6 * scale)
    assert there.ratio[0] == pytest.approx(1 / back.ratio[0, ::-1], rel=1e-6)


@given(figures=st.tuples(counts, counts, counts, counts))
def test_both_contrasts_exclude_equality_together(figures: tuple[int, int, int, int]) -> None:
    control, test = beta(*figures[:2]), beta(*figures[2:])
    comparison = compare([control, test])
    beats = comparison.probabilities_to_beat_control[1]
    found = contrast_intervals(comparison.grid, LEVEL)

    if abs(beats - TAILS[1]) > 1e-6:
        assert (found.difference[0, 0] > 0) == (found.ratio[0, 0] > 1) == (beats > TAILS[1])
    if abs(beats - TAILS[0]) > 1e-6:
        assert (found.difference[0, 1] < 0) == (found.ratio[0, 1] < 1) == (beats < TAILS[0])


def test_contrast_is_independent_of_other_variants() -> None:
    alone = contrasts(beta(10, 90), beta(18, 82))
    together = contrasts(beta(10, 90), beta(5, 10**6), beta(18, 82), beta(10**6, 3))

    assert together.ratio[1] == pytest.approx(alone.ratio[0], rel=1e-9)
    assert together.difference[1] == pytest.approx(alone.difference[0], rel=1e-9)


def test_normal_posteriors_are_refused() -> None:
    with pytest.raises(ValueError, match="Beta or Gamma"):
        contrast_intervals(compare([NormalPosterior(0, 1), NormalPosterior(1, 1)]).grid, LEVEL)
