"""The 2022 rule with exact numbers, and the published figures of real experiments."""

from fractions import Fraction
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.statistics.numerics.tail_probabilities import binomial_tails, poisson_comparison
from app.statistics.posthog_2022.errors import ExperimentDataError
from app.statistics.posthog_2022.funnel import evaluate_funnel
from app.statistics.posthog_2022.significance import SignificanceCode
from app.statistics.posthog_2022.trend import TrendVariant, evaluate_trend
from app.statistics.variants import FunnelVariant


def funnel(**counts: tuple[int, int]) -> list[FunnelVariant]:
    return [FunnelVariant(key, successes, total - successes) for key, (successes, total) in counts.items()]


def trend(**counts: tuple[int, float, float]) -> list[TrendVariant]:
    return [TrendVariant(key, *figures) for key, figures in counts.items()]


@pytest.mark.parametrize(
    ("variants", "best", "probability"),
    [
        (funnel(control=(122, 21_306), mens=(267, 21_307), womens=(189, 21_387)), "mens", 0.999899),
        (funnel(control=(122, 21_306), mens=(267, 21_307), womens=(189, 21_387)), "womens", 0.000101),
        (funnel(control=(20_034, 44_700), gate_40=(20_119, 45_489)), "control", 0.962790),
        (funnel(control=(8_502, 44_700), gate_40=(8_279, 45_489)), "control", 0.999223),
        (funnel(control=(2_033, 17_293), screener=(1_945, 17_260)), "control", 0.922060),
        (funnel(control=(17_489, 145_274), new_page=(17_264, 145_310)), "control", 0.905060),
    ],
)
def test_published_experiments_give_published_probability(
    variants: list[FunnelVariant], best: str, probability: float
) -> None:
    assert evaluate_funnel(variants).probability[best] == pytest.approx(probability, abs=6e-6)


@pytest.mark.parametrize(
    ("variants", "code"),
    [
        (funnel(control=(10, 99), test=(20, 1000)), SignificanceCode.NOT_ENOUGH_EXPOSURE),
        (funnel(control=(100, 1000), test=(20, 99)), SignificanceCode.NOT_ENOUGH_EXPOSURE),
        (funnel(control=(100, 1000), test=(105, 1000)), SignificanceCode.LOW_WIN_PROBABILITY),
        (funnel(control=(100, 1000), test=(150, 1000)), SignificanceCode.SIGNIFICANT),
        (funnel(control=(150, 1000), test=(100, 1000)), SignificanceCode.HIGH_LOSS),
        (funnel(control=(100, 1000), a=(112, 1000), b=(112, 1000)), SignificanceCode.SIGNIFICANT),
    ],
)
def test_funnel_follows_rule_of_2022(variants: list[FunnelVariant], code: SignificanceCode) -> None:
    verdict = evaluate_funnel(variants)

    assert verdict.significance_code == code
    assert verdict.significant == (code == SignificanceCode.SIGNIFICANT)
    reached = code in {SignificanceCode.SIGNIFICANT, SignificanceCode.HIGH_LOSS}
    assert (verdict.expected_loss < 1) == reached


@pytest.mark.parametrize(
    ("variants", "code", "p_value"),
    [
        (trend(control=(300, 1, 1000), test=(380, 1.01, 1010)), SignificanceCode.SIGNIFICANT, 0.003696877572296578),
        (trend(control=(300, 1, 99), test=(380, 1.01, 1010)), SignificanceCode.NOT_ENOUGH_EXPOSURE, 1),
        (trend(control=(300, 1, 1000), test=(305, 1, 1000)), SignificanceCode.LOW_WIN_PROBABILITY, 1),
        (trend(control=(20, 1, 1000), test=(30, 1, 1000)), SignificanceCode.HIGH_P_VALUE, 0.20263875106454066),
    ],
)
def test_trend_follows_rule_of_2022(variants: list[TrendVariant], code: SignificanceCode, p_value: float) -> None:
    verdict = evaluate_trend(variants)

    assert verdict.significance_code == code
    assert verdict.p_value == pytest.approx(p_value, rel=1e-12)


def test_p_value_compares_test_with_highest_count() -> None:
    verdict = evaluate_trend(trend(control=(300, 1, 1000), a=(380, 1, 1000), b=(400, 2, 2000)))

    assert verdict.p_value == pytest.approx(poisson_comparison(300, [400], [2])[0], rel=1e-12)


def test_credible_interval_contains_rate_of_variant() -> None:
    verdict = evaluate_funnel(funnel(control=(122, 21_306), mens=(267, 21_307)))

    low, high = verdict.credible_intervals["mens"]
    assert low < 267 / 21_307 < high
    assert list(verdict.credible_intervals) == list(verdict.probability) == ["control", "mens"]


def test_credible_interval_of_trend_is_per_exposed_person() -> None:
    low, high = evaluate_trend(trend(control=(300, 1, 1000), test=(380, 1.01, 1010))).credible_intervals["control"]

    assert low < 0.3 < high


@pytest.mark.parametrize(
    ("keys", "code", "message"),
    [
        ([], "no_data", "No control variant data found"),
        (["a", "b"], "no_data", "No control variant data found"),
        (["control"], "no_data", "Can't calculate A/B test results for less than 2 variants"),
        (
            ["control", *"abcdefghij"],
            "too_much_data",
            "Can't calculate A/B test results for more than 10 variants",
        ),
    ],
)
def test_incomparable_variants_are_refused(keys: list[str], code: str, message: str) -> None:
    with pytest.raises(ExperimentDataError) as funnel_refusal:
        evaluate_funnel([FunnelVariant(key, 10, 90) for key in keys])
    with pytest.raises(ExperimentDataError) as trend_refusal:
        evaluate_trend([TrendVariant(key, 10, 1.0, 100.0) for key in keys])

    assert (funnel_refusal.value.code, str(funnel_refusal.value)) == (code, message)
    assert (trend_refusal.value.code, str(trend_refusal.value)) == (code, message)


@pytest.mark.parametrize("figures", [(-1, 1.0, 1.0), (1, 0.0, 1.0), (1, 1.0, -1.0), (1, float("nan"), 1.0)])
def test_impossible_counts_are_refused(figures: tuple[int, float, float]) -> None:
    with pytest.raises(ValueError, match="'control'"):
        TrendVariant("control", *figures)


@given(
    control=st.integers(0, 60), test=st.integers(0, 60), ratio=st.fractions(Fraction(1, 10), 10, max_denominator=100)
)
def test_poisson_comparison_equals_sum_over_outcomes(control: int, test: int, ratio: Fraction) -> None:
    trials, p = control + test, ratio / (1 + ratio)
    chances = [comb(trials, k) * p**k * (1 - p) ** (trials - k) for k in range(trials + 1)]
    expected = min(Fraction(1), 2 * min(sum(chances[: test + 1]), sum(chances[test:])))

    [p_value] = poisson_comparison(control, [test], [float(ratio)])
    assert p_value == pytest.approx(float(expected), rel=1e-12)


@given(successes=st.integers(0, 10**9), failures=st.integers(0, 10**9), odds=st.floats(0.001, 1000))
def test_both_tails_include_outcome(successes: int, failures: int, odds: float) -> None:
    [low], [high] = binomial_tails([successes], [successes + failures], [odds])

    assert 0 <= low <= 1
    assert 0 <= high <= 1
    assert low + high >= 1 - 1e-12
