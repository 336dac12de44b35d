"""Intervals of rates observed as 0 or 1, held against their definition in arbitrary precision."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf

from app.statistics.analysis import analyze_metric
from app.statistics.frequentist.score_intervals import pooled_z, score_difference, score_relative_difference
from app.statistics.results import AnalysisConfig, VariantAnalysis
from app.statistics.variants import CountVariant, FunnelVariant, MetricVariant
from tests.support.examples import examples

BILLION = 10**9
FACTOR = 2.5


def rate(successes: int, total: int, key: str = "control") -> FunnelVariant:
    return FunnelVariant(key, successes, total - successes)


def analyzed(control: MetricVariant, test: MetricVariant, config: AnalysisConfig | None = None) -> VariantAnalysis:
    return analyze_metric([control, test], config or AnalysisConfig()).variants[1]


def root_of(rises: Callable[[mpf], mpf], low: mpf, high: mpf) -> mpf:
    for _ in range(220):
        middle = (low + high) / 2
        low, high = (middle, high) if rises(middle) > 0 else (low, middle)
    return (low + high) / 2


def likeliest(control: FunnelVariant, test: FunnelVariant, ratio: mpf, shift: mpf) -> tuple[mpf, mpf]:
    """Return the most likely rates of which the test's is ratio times control's plus the shift."""

    def slope(x: mpf) -> mpf:
        total = mpf(0)
        for one, p, factor in ((control, x, mpf(1)), (test, ratio * x + shift, ratio)):
            if one.success_count:
                total += factor * one.success_count / p if p > 0 else mp.inf
            if one.failure_count:
                total -= factor * one.failure_count / (1 - p) if p < 1 else mp.inf
        return total

    x = root_of(slope, max(mpf(0), -shift / ratio), min(mpf(1), (1 - shift) / ratio))
    return x, ratio * x + shift


def score(control: FunnelVariant, test: FunnelVariant, ratio: mpf, shift: mpf) -> mpf:
    x, y = likeliest(control, test, ratio, shift)
    variance = y * (1 - y) / test.total + ratio**2 * x * (1 - x) / control.total
    own, other = mpf(test.success_count) / test.total, mpf(control.success_count) / control.total
    return (own - ratio * other - shift) / mp.sqrt(variance)


@pytest.mark.parametrize(
    ("control", "test"),
    [
        (rate(100, 1000), rate(0, 1000)),
        (rate(0, 1000), rate(10, 500)),
        (rate(0, 1000), rate(0, 500)),
        (rate(990, 1000), rate(1000, 1000)),
        (rate(1000, 1000), rate(1000, 1000)),
        (rate(1, BILLION), rate(0, BILLION)),
        (rate(BILLION, BILLION), rate(BILLION - 1, BILLION)),
        (rate(0, 100), rate(1, BILLION)),
    ],
)
def test_ends_of_score_intervals_are_the_factor_away(control: FunnelVariant, test: FunnelVariant) -> None:
    difference = score_difference(control, test, FACTOR)
    relative = score_relative_difference(control, test, FACTOR)

    assert difference is not None
    with mp.workdps(40):
        for end in difference:
            assert abs(score(control, test, mpf(1), mpf(end))) == pytest.approx(FACTOR, rel=1e-12)
        for end in relative or ():
            if end > -1:
                assert abs(score(control, test, 1 + mpf(end), mpf(0))) == pytest.approx(FACTOR, rel=1e-12)


counts = st.integers(0, 50) | st.integers(0, 10**6)


@settings(max_examples=examples(60))
@given(size=st.integers(1, 10**6), counts=st.tuples(counts, counts), is_full=st.booleans(), factor=st.floats(0.7, 6))
def test_score_intervals_exclude_equality_exactly_when_the_test_does(
    size: int, counts: tuple[int, int], factor: float, *, is_full: bool
) -> None:
    control, test = FunnelVariant("control", counts[0], counts[1] + 1), rate(size if is_full else 0, size, "test")
    z = pooled_z(control, test)
    if abs(abs(z) - factor) > 1e-9 * factor:
        for interval in (
            score_difference(control, test, factor),
            score_relative_difference(control, test, factor),
        ):
            assert interval is None or (interval[0] > 0 or interval[1] < 0) == (abs(z) > factor)
    swapped = score_difference(test, control, factor)
    there = score_difference(control, test, factor)
    assert swapped is not None
    assert there == pytest.approx((-swapped[1], -swapped[0]), rel=1e-12)


def test_a_rate_of_zero_has_intervals_of_honest_width() -> None:
    """100 of 1,000 against 0 of 1,000: by the rule of three the second rate is below 0.0038, 3.8 % of the first."""
    found = analyzed(rate(100, 1000), rate(0, 1000, "test"))

    for interval in (found.relative_difference.confidence_interval, found.relative_difference.credible_interval):
        assert interval is not None
        assert interval == pytest.approx((-1, -0.962), abs=2e-3)
    assert found.difference.confidence_interval == pytest.approx((-0.1202, -0.0829), abs=1e-4)
    assert found.relative_difference.sequential_interval is not None
    assert found.relative_difference.sequential_interval[1] > -0.93


def test_no_and_all_conversions_differ_significantly() -> None:
    decision = analyzed(rate(0, 1000), rate(1000, 1000, "test")).decision

    assert decision is not None
    assert decision.is_significant


def test_counts_of_zero_have_closed_forms() -> None:
    """Without events z squared is the events of the other one times the ratios of exposures and rates."""
    many, few, none = CountVariant("a", 100, 1000.0), CountVariant("b", 1, 1000.0), CountVariant("c", 0, 500.0)

    assert score_relative_difference(many, none, FACTOR) == pytest.approx((-1, FACTOR**2 / 100 * 2 - 1))
    assert score_relative_difference(none, many, FACTOR) is None
    # Where the rate without events is likeliest to be 0, the other one's own interval is left.
    for end in score_difference(many, none, FACTOR) or ():
        assert (end + 0.1) ** 2 == pytest.approx(FACTOR**2 * -end / 1000)
    assert (score_difference(few, none, FACTOR) or (0, 0))[1] == pytest.approx(FACTOR**2 / 500 - 0.001)
