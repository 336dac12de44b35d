"""Ratios and adjusted means, held against other packages' figures.

tea-tasting 1.14.0 with `make_users_data(seed=42, covariates=True)`; GrowthBook's gbstats; Hillstrom with scipy.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.statistics.analysis import analyze_metric, analyze_metrics
from app.statistics.results import AnalysisConfig, VariantAnalysis
from app.statistics.variants import Covariate, MeanVariant, RatioCovariate, RatioVariant

CONFIG = AnalysisConfig()
ORDERS = (
    MeanVariant("control", 2023, 1073, 2073, Covariate(1090, 2720, 1691)),
    MeanVariant("test", 1977, 1133, 2121, Covariate(1006, 2380, 1551)),
)
REVENUE = (
    MeanVariant("control", 2023, 10602.6, 243736.4268, Covariate(10678.43, 405481.0443, 193410.1949)),
    MeanVariant("test", 1977, 11328.43, 278029.8889, Covariate(9331.96, 284676.8592, 172016.7183)),
)

SESSIONS = (
    RatioCovariate(1090, 2720, 4031, 13779, 3701, 1691, 2692, 2715, 9932),
    RatioCovariate(1006, 2380, 3941, 13579, 3324, 1551, 2721, 2407, 9738),
)
ORDERS_PER_SESSION = (
    RatioVariant("control", 2023, 1073, 2073, 4038, 10098, 2648, SESSIONS[0]),
    RatioVariant("test", 1977, 1133, 2121, 3920, 9698, 2730, SESSIONS[1]),
)


def analyzed(variants: Sequence[MeanVariant | RatioVariant]) -> list[VariantAnalysis]:
    return list(analyze_metric(variants, CONFIG).variants)


def test_adjusted_orders_equal_those_of_tea_tasting() -> None:
    control, test = analyzed(ORDERS)

    assert control.sample.adjustment is not None
    assert test.sample.adjustment is not None
    assert control.sample.adjustment.theta == pytest.approx(0.5212929717799638, rel=1e-13)
    assert (control.sample.mean, test.sample.mean) == pytest.approx((0.5226833010781679, 0.5809871936868317), rel=1e-14)
    assert (control.sample.adjustment.variance_reduction, test.sample.adjustment.variance_reduction) == pytest.approx(
        (0.38613535700217594, 0.34540030810213274), rel=1e-13
    )
    assert test.sample.adjustment.unadjusted_mean == 1133 / 1977
    assert test.difference.estimate == pytest.approx(0.058303892608663865, rel=1e-13)
    assert test.difference.confidence_interval == pytest.approx((0.015696510168619296, 0.10091127504870843), rel=1e-12)
    assert test.p_value == pytest.approx(0.007330409808686719, rel=1e-12)
    assert test.relative_difference.estimate == pytest.approx(0.11154726483206412, rel=1e-13)


def test_adjusted_revenue_equals_that_of_tea_tasting() -> None:
    control, test = analyzed(REVENUE)

    assert control.sample.adjustment is not None
    assert control.sample.adjustment.theta == pytest.approx(0.43337526316015745, rel=1e-10)
    assert test.difference.estimate == pytest.approx(0.7310144482693364, rel=1e-10)
    assert test.p_value == pytest.approx(0.006743929281205273, rel=1e-9)


def test_adjusted_orders_per_session_equal_those_of_tea_tasting() -> None:
    control, test = analyzed(ORDERS_PER_SESSION)

    assert (control.sample.mean, test.sample.mean) == pytest.approx((0.261558559079533, 0.29329282211631386), rel=1e-13)
    assert test.difference.estimate == pytest.approx(0.03173426303678084, rel=1e-11)
    assert test.difference.confidence_interval == pytest.approx((0.01134447701776042, 0.05212404905580126), rel=1e-11)
    assert test.p_value == pytest.approx(0.002292943842523407, rel=1e-11)
    assert test.sample.adjustment is not None
    assert test.sample.adjustment.unadjusted_mean == 1133 / 3920


def test_ratio_whose_denominators_are_1_is_adjusted_as_a_mean() -> None:
    def as_ratio(one: MeanVariant) -> RatioVariant:
        n, own = one.number_of_samples, one.covariate
        assert own is not None
        covariate = RatioCovariate(own.sum, own.sum_squares, n, n, own.sum, own.sum_product, one.sum, own.sum, n)
        return RatioVariant(one.key, n, one.sum, one.sum_squares, n, n, one.sum, covariate)

    of_means, of_ratios = analyzed(ORDERS), analyzed([as_ratio(one) for one in ORDERS])

    assert of_ratios[1].difference == of_means[1].difference
    assert [one.sample.adjustment for one in of_ratios] == [one.sample.adjustment for one in of_means]


def test_ratio_of_which_a_variant_has_no_denominators_before_is_not_adjusted() -> None:
    empty = replace(ORDERS_PER_SESSION[1], covariate=RatioCovariate(*[0] * 9))

    control, test = analyzed([ORDERS_PER_SESSION[0], empty])

    assert [one.sample.adjustment and one.sample.adjustment.theta for one in (control, test)] == [0, 0]
    assert (control.sample.mean, test.sample.mean) == pytest.approx((1073 / 4038, 1133 / 3920))


def test_unadjusted_orders_equal_those_of_tea_tasting() -> None:
    [_, test] = analyzed([replace(one, covariate=None) for one in ORDERS])

    assert test.difference.estimate == pytest.approx(0.04269014577177832, rel=1e-13)
    assert test.p_value == pytest.approx(0.11773177998716237, rel=1e-12)
    assert test.sample.adjustment is None


def test_ratio_of_orders_to_sessions_equals_that_of_tea_tasting() -> None:
    variants = [
        RatioVariant("control", 2023, 1073, 2073, 4038, 10098, 2648),
        RatioVariant("test", 1977, 1133, 2121, 3920, 9698, 2730),
    ]
    control, test = analyzed(variants)

    assert (control.sample.mean, test.sample.mean) == pytest.approx(
        (0.2657256067360079, 0.28903061224489796), rel=1e-15
    )
    assert test.difference.estimate == pytest.approx(0.02330500550889003, rel=1e-13)
    assert test.difference.confidence_interval == pytest.approx(
        (-0.0024594336679094955, 0.04906944468568956), rel=1e-11
    )
    assert test.p_value == pytest.approx(0.0762375997816836, rel=1e-12)


def test_ratio_of_spend_to_visits_has_the_variance_of_the_delta_method() -> None:
    """Hillstrom: who did not visit spent nothing, so products are the spend itself."""
    variants = [
        RatioVariant("control", 21306, 13908.33, 2870050.3621, 2262, 2262, 13908.33),
        RatioVariant("mens", 21307, 30311.69, 6759024.4973, 3894, 3894, 30311.69),
        RatioVariant("womens", 21387, 23038.11, 4911446.5763, 3238, 3238, 23038.11),
    ]
    control, mens, womens = analyzed(variants)

    means = [one.sample.mean for one in (control, mens, womens)]
    assert means == pytest.approx([6.148687002652519, 7.784203903441193, 7.114919703520692], rel=1e-14)
    assert control.sample.variance == pytest.approx(0.5442362401488912, rel=1e-12)
    assert mens.sample.variance == pytest.approx(0.43021016641546406, rel=1e-12)
    assert womens.difference.estimate == pytest.approx(0.966232700868173, rel=1e-12)
    assert (mens.difference.estimate or 0) / 0.9871405201714472 == pytest.approx(1.6568227799063666, rel=1e-12)
    assert (womens.sample.variance or 0) + 0.5442362401488912 == pytest.approx(0.9985317046610384**2, rel=1e-12)


def test_mean_equals_published_figures_of_growthbook() -> None:
    variants = [MeanVariant("A", 3407, 1396.87, 52377.9767), MeanVariant("B", 3461, 2422.7, 134698.29)]
    [_, test] = analyzed(variants)

    assert test.difference.estimate == pytest.approx(0.29, abs=5e-5)
    assert test.difference.confidence_interval == pytest.approx((0.04538, 0.53462), abs=5e-5)
    assert test.p_value == pytest.approx(0.02016, abs=5e-6)


def test_one_theta_gives_the_baseline_one_mean_whatever_the_number_of_variants() -> None:
    control, *tests = analyzed([*ORDERS, replace(ORDERS[1], key="other"), replace(ORDERS[0], key="third")])

    assert len({one.sample.adjustment.theta for one in (control, *tests) if one.sample.adjustment}) == 1
    assert tests[2].sample.mean == control.sample.mean
    assert tests[0].difference.estimate == pytest.approx((tests[0].sample.mean or 0) - (control.sample.mean or 0))


@given(values=st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=6, max_size=40))
def test_adjusted_means_equal_residuals_of_a_regression(values: list[tuple[int, int]]) -> None:
    """The adjusted mean and variance are those of y - theta (x - mean of all x), sample by sample."""
    y, x = np.array(values, dtype=np.float64).T
    split = len(values) // 2
    arms = [
        MeanVariant(key, len(ys), int(ys.sum()), int(ys @ ys), Covariate(int(xs.sum()), int(xs @ xs), int(xs @ ys)))
        for key, ys, xs in (("control", y[:split], x[:split]), ("test", y[split:], x[split:]))
    ]
    theta = np.cov(y, x)[0, 1] / x.var(ddof=1) if len(set(x.tolist())) > 1 else 0.0
    residuals = y - theta * (x - x.mean())
    for one, part in zip(analyzed(arms), (residuals[:split], residuals[split:]), strict=True):
        assert one.sample.mean == pytest.approx(part.mean(), abs=1e-10)
        assert one.sample.variance == pytest.approx(part.var(ddof=1) / len(part), rel=1e-9, abs=1e-10)


def test_constant_covariate_adjusts_nothing() -> None:
    """A sum of floats leaves a variance of 1e-17, of which no factor can be made."""
    constants = [
        Covariate(0.1 * one.number_of_samples, 0.01 * one.number_of_samples + 1e-15, 0.1 * one.sum) for one in ORDERS
    ]
    noisy = [replace(one, covariate=constant) for one, constant in zip(ORDERS, constants, strict=True)]
    [_, test] = analyzed(noisy)

    assert test.sample.adjustment is not None
    assert test.sample.adjustment.theta == 0
    assert test.difference.estimate == pytest.approx(0.04269014577177832, rel=1e-13)


def test_difference_before_the_exposure_is_an_alarm() -> None:
    shifted = replace(ORDERS[1], covariate=Covariate(1500, 3400, 1700))
    [control, test] = analyzed([ORDERS[0], shifted])
    [_, same] = analyzed(ORDERS)

    assert control.covariate_p_value is None
    assert test.covariate_p_value is not None
    assert test.covariate_p_value < 0.001
    assert "pre-exposure-bias" in test.failures
    assert same.covariate_p_value == pytest.approx(0.3435, abs=1e-4)
    assert same.failures == ()


def test_alarm_is_corrected_over_all_comparisons_of_all_metrics() -> None:
    """p is about 0.0006: below 0.001 alone, above it among two comparisons."""
    shifted = replace(ORDERS[1], covariate=Covariate(1268, 2500, 1551))
    alone = analyze_metrics([[ORDERS[0], shifted]], CONFIG)[0].variants[1]
    among = analyze_metrics([[ORDERS[0], shifted], ORDERS], CONFIG)[0].variants[1]

    assert alone.covariate_p_value == among.covariate_p_value
    assert 0.0005 < (alone.covariate_p_value or 0) < 0.001
    assert "pre-exposure-bias" in alone.failures
    assert "pre-exposure-bias" not in among.failures


def test_covariates_of_some_variants_are_refused() -> None:
    with pytest.raises(ValueError, match="either all variants have a covariate"):
        analyzed([ORDERS[0], replace(ORDERS[1], covariate=None)])


@pytest.mark.parametrize("sums", [(1090, 1, 0), (1090, 2720, 99999), (1, 1, float("nan"))])
def test_impossible_covariates_are_refused(sums: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="'control'"):
        replace(ORDERS[0], covariate=Covariate(*sums))
