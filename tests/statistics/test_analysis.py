"""The analysis of counts: published figures of real experiments, and properties of any counts."""

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf

from app.analysis.conclusion import conclude
from app.statistics.analysis import analyze_metric, analyze_metrics
from app.statistics.frequentist.multiplicity import adjust
from app.statistics.frequentist.sample_ratio import check_sample_ratio
from app.statistics.frequentist.sequential import sequential_factor, sequential_p_value
from app.statistics.numerics.tail_probabilities import chi_square_p_value, student_p_values
from app.statistics.results import Analysis, AnalysisConfig, VariantAnalysis
from app.statistics.variants import (
    CountVariant,
    FunnelVariant,
    MeanVariant,
    MetricVariant,
    QuantileVariant,
    RatioVariant,
)
from tests.support.examples import examples

CONFIG = AnalysisConfig()
ONE_LOOK = AnalysisConfig(method="frequentist", is_sequential=False)


def funnel(**counts: tuple[int, int]) -> list[FunnelVariant]:
    return [FunnelVariant(key, successes, total - successes) for key, (successes, total) in counts.items()]


def mean(key: str, number: int, average: float, variance: float) -> MeanVariant:
    return MeanVariant(key, number, average * number, variance * (number - 1) + average**2 * number)


def ratio(key: str, *sums: float) -> RatioVariant:
    total, squares, denominator, denominator_squares, product = sums
    return RatioVariant(key, 200, total, squares, denominator, denominator_squares, product)


def of(analysis: Analysis, key: str) -> VariantAnalysis:
    return next(variant for variant in analysis.variants if variant.sample.key == key)


@pytest.mark.parametrize(
    ("control", "test", "difference", "interval", "p_value", "best"),
    [
        ((20_034, 44_700), (20_119, 45_489), -0.005905, (-0.012393, 0.000582), 0.07441, 0.03721),
        ((8_502, 44_700), (8_279, 45_489), -0.008201, (-0.013282, -0.003121), 0.0015542, 0.000777),
        ((2_262, 21_306), (3_894, 21_307), 0.076590, (0.069953, 0.083226), 5.7e-112, 1),
        ((2_262, 21_306), (3_238, 21_387), 0.045233, (0.038894, 0.051573), 3.2e-44, 1),
        ((122, 21_306), (267, 21_307), 0.006805, (0.005000, 0.008610), 1.5e-13, 1),
        ((122, 21_306), (189, 21_387), 0.003111, (0.001499, 0.004723), 1.57e-4, 0.999924),
        ((3_785, 17_293), (3_423, 17_260), -0.020555, (-0.02912, -0.01199), 2.58e-6, 1.3e-6),
        ((2_033, 17_293), (1_945, 17_260), -0.004874, (-0.01160, 0.00186), 0.15584, 0.07794),
        ((17_489, 145_274), (17_264, 145_310), -0.001578, (-0.003938, 0.000781), 0.18988, 0.09494),
    ],
)
def test_published_conversions_give_published_figures(
    control: tuple[int, int],
    test: tuple[int, int],
    difference: float,
    interval: tuple[float, float],
    p_value: float,
    best: float,
) -> None:
    found = of(analyze_metric(funnel(control=control, test=test), CONFIG), "test")

    assert found.difference.estimate == pytest.approx(difference, abs=6e-7)
    assert found.difference.confidence_interval == pytest.approx(interval, abs=6e-6)
    assert found.p_value == pytest.approx(p_value, rel=0.04 if p_value < 1e-10 else 3e-3)
    assert found.probability_best == pytest.approx(best, abs=6e-6)


@pytest.mark.parametrize(
    ("control", "test", "p_value"),
    [
        (mean("control", 44_700, 52.4563, 65_903.32), mean("test", 45_489, 51.2988, 10_669.74), 0.37592),
        (mean("control", 21_306, 0.652789, 134.2864), mean("test", 21_307, 1.422617, 315.2118), 1.16e-7),
        (mean("control", 21_306, 0.652789, 134.2864), mean("test", 21_387, 1.077202, 228.4967), 0.0011294),
    ],
)
def test_published_amounts_give_published_p_value(control: MeanVariant, test: MeanVariant, p_value: float) -> None:
    found = of(analyze_metric([control, test], CONFIG), "test")

    assert found.p_value == pytest.approx(p_value, rel=5e-3)


@pytest.mark.parametrize(
    ("observed", "p_value", "is_mismatch"),
    [
        ({"gate_30": 44_700, "gate_40": 45_489}, 0.0086080, False),
        ({"control": 21_306, "mens": 21_307, "womens": 21_387}, 0.90369, False),
        ({"control": 345_543, "test": 344_660}, 0.28785, False),
        ({"old": 145_274, "new": 145_310}, 0.94675, False),
        ({"control": 4_000, "test": 5_000}, 5.6e-26, True),
        ({"control": 0, "test": 30}, 4.3e-8, False),
    ],
)
def test_published_splits_give_published_p_value(
    observed: dict[str, float], p_value: float, *, is_mismatch: bool
) -> None:
    found = check_sample_ratio(observed, dict.fromkeys(observed, 50.0))

    assert found.p_value == pytest.approx(p_value, rel=2e-2 if p_value < 1e-6 else 1e-4)
    assert found.is_mismatch == is_mismatch


@pytest.mark.parametrize("off", [0, 1, 7])
def test_samples_of_a_variant_without_weight_are_impossible(off: int) -> None:
    found = check_sample_ratio({"a": 500, "b": 480, "off": off}, {"a": 1, "b": 1, "off": 0})
    without = check_sample_ratio({"a": 500, "b": 480}, {"a": 3, "b": 3})

    total = 980 + off
    assert found.expected == {"a": total / 2, "b": total / 2, "off": 0}
    if off:
        assert (found.chi_square, found.p_value, found.is_mismatch) == (math.inf, 0, True)
    else:
        assert (found.chi_square, found.p_value) == (without.chi_square, without.p_value)


@given(statistic=st.floats(1e-3, 500))
def test_chi_square_equals_closed_forms(statistic: float) -> None:
    half = statistic / 2
    assert chi_square_p_value(statistic, 2) == pytest.approx(math.exp(-half), rel=1e-12)
    assert chi_square_p_value(statistic, 4) == pytest.approx(math.exp(-half) * (1 + half), rel=1e-12)
    expected = math.erfc(math.sqrt(half)) + math.sqrt(2 * statistic / math.pi) * math.exp(-half)
    assert chi_square_p_value(statistic, 3) == pytest.approx(expected, rel=1e-12)


@given(t=st.floats(1e-3, 1e3))
def test_student_p_value_equals_closed_forms(t: float) -> None:
    one, two = student_p_values(np.array([t, -t]), np.array([1.0, 2.0]))
    assert one == pytest.approx(2 * math.atan(1 / t) / math.pi, rel=1e-10)
    assert two == pytest.approx(2 / (math.sqrt(t * t + 2) * (math.sqrt(t * t + 2) + t)), rel=1e-10)


def student_tails(t: mpf, nu: mpf) -> mpf:
    """Return both tails by the continued fraction of the incomplete beta function (DLMF 8.17.22), from its far end."""
    a, b, x = nu / 2, mpf(1) / 2, nu / (nu + t * t)
    fraction = mpf(1)
    for m in range(2000, 0, -1):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m - 1) * (a + b + m - 1) * x / ((a + 2 * m - 2) * (a + 2 * m - 1))
        fraction = 1 + odd / (1 + even / fraction)
    log_beta = mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b)
    return mp.exp(a * mp.log(x) + b * mp.log1p(-x) - log_beta) / (a * fraction)


@pytest.mark.parametrize("degrees", [50, 1998.3, 1e6])
@pytest.mark.parametrize("t", [10.0, 20.0, 30.0, 36.0])
def test_far_tails_of_student_keep_their_digits(t: float, degrees: float) -> None:
    with mp.workdps(40):
        expected = student_tails(mpf(t), mpf(degrees))
    found = student_p_values(np.array([t]), np.array([degrees]))[0]

    assert abs(mpf(found) / expected - 1) < 1e-13 + 5e-16 * float(-mp.log(expected))


@given(samples=st.floats(1, 1e9), alpha=st.floats(0.001, 0.4), tuning=st.floats(10, 1e6))
def test_anytime_p_value_is_alpha_at_end_of_interval(samples: float, alpha: float, tuning: float) -> None:
    factor = sequential_factor(samples, alpha, tuning)

    assert sequential_p_value(factor, samples, alpha, tuning) == pytest.approx(alpha, rel=1e-9)
    assert sequential_p_value(0.0, samples, alpha, tuning) == 1


@pytest.mark.parametrize(
    ("correction", "adjusted"),
    [
        ("none", [0.01, 0.04, 0.03, 0.005]),
        ("holm", [0.03, 0.06, 0.06, 0.02]),
        ("benjamini_hochberg", [0.02, 0.04, 0.04, 0.02]),
    ],
)
def test_adjusted_p_values_equal_textbook_values(correction: str, adjusted: list[float]) -> None:
    assert adjust([0.01, 0.04, 0.03, 0.005], correction) == pytest.approx(adjusted)  # type: ignore[arg-type]  # a parameter


def test_correction_spans_all_metrics_decided_together() -> None:
    metric = funnel(control=(1000, 10_000), test=(1085, 10_000))
    config = replace(ONE_LOOK, correction="holm")

    alone = of(analyze_metric(metric, config), "test").decision
    together = of(analyze_metrics([metric, metric], config)[0], "test").decision
    assert alone is not None
    assert together is not None
    assert together.adjusted == pytest.approx(2 * (alone.adjusted or 0))


def test_several_variants_are_corrected_by_holm_within_their_metric_unless_told_otherwise() -> None:
    several, pair = funnel(control=(100, 1000), a=(130, 1000), b=(140, 1000)), funnel(control=(9, 100), test=(15, 100))

    of_several, of_pair = analyze_metrics([several, pair], ONE_LOOK)
    plain, _ = analyze_metrics([several, pair], replace(ONE_LOOK, correction="none"))

    a, b = (one.p_value or 0 for one in plain.variants[1:])
    tests = [*of_several.variants[1:], *of_pair.variants[1:]]
    assert [one.decision.adjusted for one in tests if one.decision] == pytest.approx(
        [max(a, 2 * b), 2 * b, tests[2].p_value]
    )
    assert (of_several.correction, of_pair.correction, plain.correction) == ("holm", "none", "none")
    assert "after Holm's correction for 2 comparisons)" in conclude(of_several, is_share=True)
    assert "Holm" not in conclude(of_pair, is_share=True) + conclude(plain, is_share=True)


def test_control_is_baseline_in_any_order_of_variants() -> None:
    variants = funnel(test=(150, 1000), control=(100, 1000), other=(90, 1000))

    found = analyze_metric(variants, CONFIG)
    chosen = analyze_metric(variants, replace(CONFIG, baseline="other"))
    assert [variant.sample.key for variant in found.variants] == ["test", "control", "other"]
    assert (found.baseline.sample.key, chosen.baseline.sample.key) == ("control", "other")
    assert of(chosen, "test").difference.estimate == pytest.approx(0.06)
    assert found.leader is not None
    assert found.leader.sample.key == "test"


@pytest.mark.parametrize(
    ("counted", "mirrored"),
    [
        (
            funnel(control=(150, 1000), test=(100, 1000), other=(90, 900)),
            funnel(control=(850, 1000), test=(900, 1000), other=(810, 900)),
        ),
        (
            [mean("control", 500, 3, 4), mean("test", 400, 2.9, 9), mean("other", 450, 3.1, 1)],
            [mean("control", 500, -3, 4), mean("test", 400, -2.9, 9), mean("other", 450, -3.1, 1)],
        ),
    ],
    ids=["shares", "means"],
)
def test_less_is_better_exactly_as_more_of_the_opposite_is(
    counted: Sequence[MetricVariant], mirrored: Sequence[MetricVariant]
) -> None:
    less, more = analyze_metric(counted, CONFIG, goal="decrease"), analyze_metric(mirrored, CONFIG)

    assert less.leader is not None
    assert more.leader is not None
    assert less.leader.sample.key == more.leader.sample.key
    tests = [one for one in less.variants if not one.is_baseline]
    opposites = [one for one in more.variants if not one.is_baseline]
    for figure in ("probability_best", "probability_beats_baseline", "expected_loss", "expected_loss_against_baseline"):
        expected = [getattr(one, figure) for one in opposites]
        assert [getattr(one, figure) for one in tests] == pytest.approx(expected, rel=1e-9)


def test_lowest_of_three_counts_is_best_with_the_probability_that_closed_forms_give() -> None:
    """Without events rates are exponential: each of three is the lowest in proportion to its exposure."""
    variants = [CountVariant(key, 0, exposure) for key, exposure in (("control", 50), ("test", 30), ("other", 20))]

    found = analyze_metric(variants, CONFIG, goal="decrease")

    assert [one.probability_best for one in found.variants] == pytest.approx([0.5, 0.3, 0.2], abs=1e-12)
    assert of(found, "test").probability_beats_baseline == pytest.approx(30 / 80, abs=1e-12)


def test_control_may_lead() -> None:
    found = analyze_metric(funnel(control=(150, 1000), test=(100, 1000)), CONFIG)

    assert found.leader == found.baseline
    decision = of(found, "test").decision
    assert decision is not None
    assert decision.is_significant


@pytest.mark.parametrize(
    ("variants", "code"),
    [
        (funnel(control=(50, 99), test=(99, 1000)), "not_enough_exposure"),
        (funnel(control=(0, 1000), test=(6, 1000)), "not_enough_data"),
        (funnel(control=(100, 1000), test=(105, 1000)), "high_p_value"),
        (funnel(control=(0, 1000), test=(100, 1000)), "significant"),
        ([MeanVariant("control", 200, 0, 0), MeanVariant("test", 200, 4, 80)], "high_p_value"),
        ([MeanVariant("control", 200, 0, 0), MeanVariant("test", 200, 200, 200)], "not_enough_data"),
        ([MeanVariant("control", 200, 100, 50), MeanVariant("test", 200, 100, 50)], "not_enough_data"),
        (funnel(control=(0, 1000), test=(0, 1000)), "not_enough_data"),
    ],
)
def test_decision_names_its_reason(variants: Sequence[FunnelVariant | MeanVariant], code: str) -> None:
    decision = of(analyze_metric(variants, CONFIG), "test").decision

    assert decision is not None
    assert decision.code == code


def test_one_constant_arm_leaves_the_others_their_figures() -> None:
    """All 1,000 persons of an arm have the amount 0.1: its standard error is 1e-10 of the others'."""
    constant = MeanVariant("constant", 1000, sum([0.1] * 1000), sum([0.1 * 0.1] * 1000))
    others = [mean("control", 1000, 0.11, 0.04), mean("test", 1000, 0.14, 0.05)]
    alone, together = analyze_metric(others, CONFIG), analyze_metric([*others, constant], CONFIG)

    assert of(together, "test").probability_beats_baseline == of(alone, "test").probability_beats_baseline
    assert sum(one.probability_best or 0 for one in together.variants) == pytest.approx(1)
    one = of(together, "constant")
    assert one.probability_beats_baseline == pytest.approx(NormalDist().cdf(-0.01 / (0.04 / 1000) ** 0.5), rel=1e-6)
    assert one.expected_loss is not None


def test_mean_without_variance_is_a_known_number() -> None:
    """Nobody of 1,000 bought in one arm: chance and p-value rest on the other arm's variance, and the arm says so."""
    none, some = MeanVariant("control", 1000, 0, 0), mean("test", 1000, 0.05, 0.4)
    test = of(analyze_metric([none, some], CONFIG), "test")
    back = of(analyze_metric([replace(some, key="control"), replace(none, key="test")], CONFIG), "test")

    z = 0.05 / (0.4 / 1000) ** 0.5
    assert test.probability_beats_baseline == pytest.approx(NormalDist().cdf(z), rel=1e-9)
    assert test.p_value == pytest.approx(2 * NormalDist().cdf(-z), rel=0.05)
    assert "zero-variance" in back.failures
    assert back.relative_difference.estimate == -1
    assert back.relative_difference.confidence_interval is None


def test_evidence_of_mirror_images_is_the_same() -> None:
    """Twice the smaller tail, also where the other one is 1 to the last digit."""
    config = AnalysisConfig(is_sequential=False)
    better = of(analyze_metric(funnel(control=(100, 1000), test=(300, 1000)), config), "test").decision
    worse = of(analyze_metric(funnel(control=(300, 1000), test=(100, 1000)), config), "test").decision

    assert better is not None
    assert worse is not None
    assert 0 < (better.adjusted or 0) < 1e-25
    assert better.adjusted == pytest.approx(worse.adjusted, rel=1e-9)


@pytest.mark.parametrize(
    ("variants", "key", "failure"),
    [
        ([mean("control", 200, -10, 4), mean("test", 200, -1, 4)], "control", "baseline-mean-is-negative"),
        ([mean("control", 200, 0.01, 4), mean("test", 200, 1, 4)], "test", "relative-interval-unbounded"),
        (
            [mean("control", 200, 0, 1e-20), mean("test", 200, 1, 4), mean("b", 200, 1, 1e15)],
            "b",
            "posteriors-not-comparable",
        ),
        ([ratio("control", 9, 9, 0, 0, 0), ratio("test", 9, 9, 9, 9, 9)], "control", "denominator-is-zero"),
        ([ratio("control", 1e150, 1e300, 1e-9, 1, 0), ratio("test", 9, 9, 9, 9, 9)], "control", "out-of-range"),
    ],
)
def test_missing_figures_have_their_reason(
    variants: Sequence[MeanVariant | RatioVariant], key: str, failure: str
) -> None:
    found = analyze_metric(variants, CONFIG)

    assert failure in of(found, key).failures
    for one in found.variants:
        assert one.failures or one.probability_best is not None or found.baseline.failures


def test_persons_may_differ_from_exposure() -> None:
    """The rule for 100 samples and the anytime-valid interval go by persons, rates by exposure."""
    hours = [CountVariant("control", 300, 50.0, 1000), CountVariant("test", 380, 50.0, 1000)]
    persons = [CountVariant("control", 300, 1000.0), CountVariant("test", 380, 1000.0)]
    by_hour, by_person = of(analyze_metric(hours, CONFIG), "test"), of(analyze_metric(persons, CONFIG), "test")

    assert by_hour.sequential_p_value == pytest.approx(by_person.sequential_p_value, rel=1e-12)
    assert by_hour.difference.estimate == pytest.approx(1.6)
    assert by_hour.failures == by_person.failures == ()
    alone = of(analyze_metric([replace(one, number_of_samples=None) for one in hours], CONFIG), "test")
    assert alone.failures == ("not-enough-exposures",)


def test_ratio_with_constant_denominator_equals_mean() -> None:
    numbers = {"control": (500, 800.0, 2100.0), "test": (400, 700.0, 1900.0)}
    means = analyze_metric([MeanVariant(key, *sums) for key, sums in numbers.items()], CONFIG)
    ratios = analyze_metric(
        [RatioVariant(key, n, total, squares, n * 2, n * 4, total * 2) for key, (n, total, squares) in numbers.items()],
        CONFIG,
    )

    one, half = of(means, "test"), of(ratios, "test")
    assert half.p_value == pytest.approx(one.p_value, rel=1e-9)
    assert half.difference.estimate == pytest.approx((one.difference.estimate or 0) / 2)
    assert half.relative_difference.confidence_interval == pytest.approx(one.relative_difference.confidence_interval)


def test_variances_survive_large_means() -> None:
    """Amounts 10^9 and 10^9 + 2 by turns: their variance is 1, and the squares have more digits than a float."""
    n, low, high = 1000, 10**9, 10**9 + 2
    variant = MeanVariant("control", n, (low + high) * n // 2, (low**2 + high**2) * n // 2)

    deviation = math.sqrt(n / (n - 1) / n)
    interval = of(analyze_metric([variant, replace(variant, key="test")], CONFIG), "test").credible_interval
    assert interval is not None
    assert interval[1] - interval[0] == pytest.approx(2 * 1.959963984540054 * deviation, rel=1e-6)


def means_of(rows: Sequence[tuple[int, float, float]]) -> list[MeanVariant]:
    """Return variants of as many persons, their mean and how far their squares exceed those of equal amounts."""
    return [
        MeanVariant(f"v{index}", n, value * min(n, 1000), value * value * min(n, 1000) ** 2 / n * spread)
        for index, (n, value, spread) in enumerate(rows)
    ]


counts = st.integers(0, 200) | st.integers(0, 10**18)
funnels = st.lists(st.tuples(counts, counts), min_size=2, max_size=20).map(
    lambda pairs: [FunnelVariant(f"v{index}", *pair) for index, pair in enumerate(pairs)]
)
count_variants = st.lists(st.tuples(counts, st.floats(1e-18, 1e18)), min_size=2, max_size=20).map(
    lambda pairs: [CountVariant(f"v{index}", *pair) for index, pair in enumerate(pairs)]
)
# Squares of smaller ones would be zero.
amounts = (st.floats(-1e150, 1e150) | st.floats(-100, 100)).map(lambda value: value if abs(value) > 1e-100 else 0.0)
mean_variants = st.lists(
    st.tuples(st.integers(1, 10**18) | st.integers(1, 5), amounts, st.floats(1, 10) | st.just(1.0)),
    min_size=2,
    max_size=20,
).map(means_of)
configs = st.builds(
    AnalysisConfig,
    method=st.sampled_from(["bayesian", "frequentist"]),
    confidence_level=st.floats(0.5, 0.9999),
    is_sequential=st.booleans(),
    tuning=st.floats(1e-3, 1e9),
    correction=st.sampled_from([None, "none", "holm", "benjamini_hochberg"]),
)


# So far apart that the nodes of a narrow one are rounded away.
FAR_APART = [(2, 0.0, 1.0), (2, 1.0, 2.0), (2, -94311722269.0, 1.0), (1, 0.0, 1.0), (1, 0.0, 1.0), (2, 2.6e39, 1.0)]

# The square of a relative difference is beyond the largest float.
BEYOND = [(2, 1.401298464324817e-45, 1.0), (2, 0.0, 1.0), (2, 1.8788340662190666e109, 2.0)]


@settings(max_examples=examples(25))
@example(variants=means_of(FAR_APART), config=AnalysisConfig(is_sequential=False))
@example(variants=means_of(BEYOND), config=AnalysisConfig())
@given(variants=st.one_of(funnels, count_variants, mean_variants), config=configs)
def test_any_counts_give_consistent_analysis(
    variants: Sequence[FunnelVariant | CountVariant | MeanVariant], config: AnalysisConfig
) -> None:
    found = analyze_metric(variants, config, {variant.key: 1.0 for variant in variants})

    best = [one.probability_best for one in found.variants if one.probability_best is not None]
    assert not best or sum(best) == pytest.approx(1)
    for one in found.variants:
        for chance in (one.probability_beats_baseline, one.p_value, one.sequential_p_value):
            assert chance is None or 0 <= chance <= 1
        for contrast in (one.difference, one.relative_difference):
            for interval in (contrast.credible_interval, contrast.confidence_interval, contrast.sequential_interval):
                assert interval is None or not interval[0] > interval[1]
        narrow, wide = one.difference.confidence_interval, one.difference.sequential_interval
        if narrow is not None and wide is not None and not math.isfinite(one.sample.degrees):
            assert not wide[0] > narrow[0]


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        (funnel(control=(1, 2)), "at least two"),
        ([FunnelVariant(f"v{index}", 1, 1) for index in range(21)], "at most 20"),
        ([FunnelVariant("a", 1, 1), FunnelVariant("a", 1, 1)], "different keys"),
        ([FunnelVariant("a", 1, 1), CountVariant("b", 1, 1)], "one kind"),
    ],
)
def test_incomparable_variants_are_refused(variants: list[FunnelVariant | CountVariant], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        analyze_metric(variants, CONFIG)


@pytest.mark.parametrize(
    "sums", [(10, 100.0, 999.0), (0, 1.0, 1.0), (-1, 0.0, 0.0), (10, float("nan"), 1.0), (10, 1.0, float("inf"))]
)
def test_impossible_sums_are_refused(sums: tuple[int, float, float]) -> None:
    with pytest.raises(ValueError, match="'control'"):
        MeanVariant("control", *sums)
    with pytest.raises(ValueError, match="'control'"):
        RatioVariant("control", *sums, 10.0, 10.0, 0.0)


def test_impossible_product_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        RatioVariant("control", 10, 0.0, 10.0, 0.0, 10.0, 11.0)


def test_quantile_with_too_few_values_is_shown_but_not_tested() -> None:
    analysis = analyze_metric(
        [QuantileVariant("control", 200, 200, 5, 4, 7), QuantileVariant("test", 200, 20, 6, None, None)], CONFIG
    )

    test = of(analysis, "test")
    assert (test.sample.mean, test.difference.estimate, test.p_value) == (6, None, None)
    assert test.failures == ("not-enough-metric-data",)
    assert test.decision is not None
    assert test.decision.code == "not_enough_data"


@pytest.mark.parametrize("values", [(5, 6, 7), (5, None, 7), (None, 4, 6), (5, 4, math.inf)])
def test_order_statistics_that_do_not_hold_their_quantile_are_refused(
    values: tuple[float | None, float | None, float | None],
) -> None:
    value, lower, upper = values
    with pytest.raises(ValueError, match="of 'test'"):
        QuantileVariant("test", 200, 200, value, lower, upper)
