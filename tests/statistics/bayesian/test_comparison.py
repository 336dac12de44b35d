"""Probabilities and losses, compared with closed forms and arbitrary precision."""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import betainc, mpf

from app.statistics.bayesian.comparison import compare
from app.statistics.bayesian.normal_comparison import compare_normals
from app.statistics.posteriors import BetaPosterior, GammaPosterior
from tests.statistics import reference
from tests.statistics.reference import Posterior

ACCURACY = 1e-12  # documented absolute accuracy
ROUNDING = 1e-14  # rounding between two ways to compute the same number

beta = BetaPosterior.from_counts
gamma = GammaPosterior.from_counts

HARD_CASES: dict[str, Sequence[Posterior]] = {
    "no data": [beta(0, 0), beta(0, 0)],
    "hardly any data": [beta(0, 1), beta(1, 0)],
    "zero conversions": [beta(0, 1000), beta(3, 997)],
    "conversions only": [beta(20, 0), beta(15, 1)],
    "close": [beta(10, 90), beta(18, 82), beta(15, 85)],
    "far apart": [beta(2, 500), beta(400, 4)],
    "a narrow one inside a wide one": [beta(1, 9), beta(50, 450)],
    "counts": [gamma(20, 1), gamma(30, 1)],
    "no events": [gamma(0, 1), gamma(0, 2)],
    "unequal exposures": [gamma(30, 1), gamma(1, 0.01)],
}
counts = st.integers(0, 200) | st.integers(0, 10**9)
betas = st.builds(beta, counts, counts)
gammas = st.builds(gamma, counts, st.floats(0.01, 100))
comparable = st.one_of(st.lists(betas, min_size=2, max_size=20), st.lists(gammas, min_size=2, max_size=20))


@pytest.mark.parametrize("posteriors", HARD_CASES.values(), ids=HARD_CASES.keys())
def test_hard_cases_agree_with_arbitrary_precision(posteriors: Sequence[Posterior]) -> None:
    result = compare(posteriors)

    for index, posterior in enumerate(posteriors):
        rivals = [other for position, other in enumerate(posteriors) if position != index]
        assert abs(result.win_probabilities[index] - reference.win_probability(posteriors, index)) < ACCURACY
        scale = max(1.0, posteriors[0].mean)
        against_control = (
            reference.loss_against(posterior, posteriors[:1]) if index else result.losses_against_control[0]
        )
        assert abs(result.losses_against_control[index] - against_control) < ACCURACY * scale
        assert (
            abs(result.losses_against_all[index] - reference.loss_against(posterior, rivals)) < ACCURACY * 100 * scale
        )


@pytest.mark.parametrize(
    ("control", "test"),
    [
        ((10, 90), (18, 82)),
        ((0, 0), (3, 1)),
        ((500, 500), (450, 550)),
        ((900, 10**9), (1000, 10**9)),
        ((10**6, 10**9), (1000, 10**6)),
    ],
)
def test_probability_to_beat_control_equals_finite_sum(control: tuple[int, int], test: tuple[int, int]) -> None:
    result = compare([beta(*control), beta(*test)])

    assert abs(result.probabilities_to_beat_control[1] - reference.beats(beta(*test), beta(*control))) < ROUNDING


@pytest.mark.parametrize(("counts", "rates"), [((20, 30), (1.0, 1.0)), ((7, 7), (2.0, 1.0)), ((300, 380), (1.0, 1.01))])
def test_probability_to_beat_rate_equals_beta_probability(counts: tuple[int, int], rates: tuple[float, float]) -> None:
    control, test = (gamma(count, rate) for count, rate in zip(counts, rates, strict=True))
    share = mpf(rates[1]) / (mpf(rates[0]) + mpf(rates[1]))
    expected = 1 - betainc(test.shape, control.shape, 0, share, regularized=True)

    assert abs(compare([control, test]).probabilities_to_beat_control[1] - expected) < ROUNDING


@given(posteriors=comparable)
def test_probabilities_sum_to_one_and_checks_pass(posteriors: list[Posterior]) -> None:
    result = compare(posteriors)

    assert np.isclose(result.win_probabilities.sum(), 1, rtol=0, atol=ROUNDING)
    assert result.sum_error < ACCURACY
    assert result.mass_error < ACCURACY
    assert (result.losses_against_all >= 0).all()


@given(posterior=betas | gammas, count=st.integers(2, 20))
def test_identical_variants_share_the_probability_equally(posterior: Posterior, count: int) -> None:
    assert compare([posterior] * count).win_probabilities == pytest.approx(1 / count, rel=0, abs=1e-15)


@given(data=st.data(), posteriors=comparable)
def test_result_is_independent_of_order_of_variants(data: st.DataObject, posteriors: list[Posterior]) -> None:
    order = data.draw(st.permutations(range(len(posteriors))))
    shuffled = compare([posteriors[index] for index in order]).win_probabilities

    assert shuffled == pytest.approx(compare(posteriors).win_probabilities[list(order)], rel=0, abs=ACCURACY)


@given(control=betas, successes=st.integers(0, 10**6), failures=st.integers(0, 10**6))
def test_additional_success_never_lowers_win_probability(control: BetaPosterior, successes: int, failures: int) -> None:
    before = compare([control, beta(successes, failures)])
    after = compare([control, beta(successes + 1, failures)])

    assert after.win_probabilities[1] >= before.win_probabilities[1] - ROUNDING
    assert after.losses_against_control[1] <= before.losses_against_control[1] + ROUNDING


@given(control=betas, test=betas)
def test_win_probabilities_of_two_variants_are_complementary(control: BetaPosterior, test: BetaPosterior) -> None:
    result = compare([control, test])

    assert result.win_probabilities[1] == pytest.approx(result.probabilities_to_beat_control[1], rel=0, abs=ACCURACY)


@given(posteriors=comparable)
def test_same_counts_give_same_bits(posteriors: list[Posterior]) -> None:
    first, second = compare(posteriors), compare(posteriors)

    assert first.win_probabilities.tobytes() == second.win_probabilities.tobytes()


def test_fewer_than_two_or_mixed_posteriors_are_refused() -> None:
    with pytest.raises(ValueError, match="at least two"):
        compare([beta(1, 1)])
    with pytest.raises(ValueError, match="one family"):
        compare([beta(1, 1), gamma(1, 1)])


@pytest.mark.parametrize("parameters", [(0.0, 1.0), (-1.0, 1.0), (float("nan"), 1.0), (1.0, float("inf"))])
def test_impossible_parameters_are_refused(parameters: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="positive"):
        BetaPosterior(*parameters)
    with pytest.raises(ValueError, match="positive"):
        GammaPosterior(*parameters)


@given(
    means=st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)),
    deviations=st.tuples(st.floats(1e-2, 1e2), st.floats(1e-2, 1e2)),
)
def test_normal_comparison_equals_closed_forms(means: tuple[float, float], deviations: tuple[float, float]) -> None:
    result = compare_normals(means, deviations)
    assert result.win_probabilities is not None
    assert result.losses_against_all is not None

    error = math.hypot(*deviations)
    z = (means[1] - means[0]) / error
    beats = NormalDist().cdf(z)
    loss = error * NormalDist().pdf(z) - (means[1] - means[0]) * (1 - beats)
    for found in (result.win_probabilities[1], result.probabilities_to_beat_control[1]):
        assert found == pytest.approx(beats, abs=1e-10)
    for found in (result.losses_against_all[1], result.losses_against_control[1]):
        assert found == pytest.approx(loss, rel=1e-9, abs=1e-9 * error)


@pytest.mark.parametrize("spread", [1e5, 1e8, 1e9])
@pytest.mark.parametrize("first", [0, 1, 3])
def test_normal_variables_of_any_spread_are_compared_exactly(spread: float, first: int) -> None:
    """Two narrow variables beside a wide one: the wide one wins with 1 - F(narrow), the others share the rest."""
    means = [0.1, 0.1 + 0.5 / spread, 0.1, 0.4]
    deviations = [1 / spread, 1 / spread, 1e-3 / spread, 1.0]
    order = [first, *(index for index in range(4) if index != first)]
    result = compare_normals([means[index] for index in order], [deviations[index] for index in order])

    assert result.win_probabilities is not None
    wins = dict(zip(order, result.win_probabilities.tolist(), strict=True))
    assert sum(wins.values()) == pytest.approx(1, abs=1e-14)
    assert wins[3] == pytest.approx(NormalDist().cdf(0.3), abs=1 / spread)
    assert wins[0] + wins[1] + wins[2] == pytest.approx(NormalDist().cdf(-0.3), abs=1 / spread)


def test_known_number_is_compared_with_normal_variables() -> None:
    """Two standard normal variables, and 0: the number is the largest with a quarter, the others with 3/8 each."""
    result = compare_normals([0.0, 0.0, 0.0], [1.0, 0.0, 1.0])

    assert result.win_probabilities == pytest.approx([0.375, 0.25, 0.375], abs=1e-11)
    assert result.probabilities_to_beat_control.tolist() == [0.5, 0.5, 0.5]


def test_equal_and_known_numbers_are_not_compared() -> None:
    result = compare_normals([1.0, 1.0, 2.0], [0.0, 0.0, 0.0])

    assert result.win_probabilities is None
    assert np.isnan(result.probabilities_to_beat_control[1:]).all()


@given(
    first=st.tuples(st.integers(0, 10**6), st.integers(1, 10**6)),
    second=st.tuples(st.integers(0, 10**6), st.integers(1, 10**6)),
)
def test_chances_of_mirror_images_are_exchanged(first: tuple[int, int], second: tuple[int, int]) -> None:
    there, back = compare([beta(*first), beta(*second)]), compare([beta(*second), beta(*first)])

    chance = there.probabilities_to_beat_control[1]
    if chance > 1e-60:
        assert chance == pytest.approx(back.probabilities_to_lose_to_control[1], rel=1e-9)


def test_equal_normal_variables_share_probability_equally() -> None:
    """The largest of three standard normal variables is 3 / (2 sqrt(pi)) on average, that of two 1 / sqrt(pi)."""
    result = compare_normals([5.0] * 3, [2.0] * 3)

    assert result.win_probabilities == pytest.approx(1 / 3, abs=ACCURACY)
    assert result.losses_against_all == pytest.approx(2 * 3 / (2 * math.sqrt(math.pi)), rel=1e-10)
