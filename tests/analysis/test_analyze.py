"""Analysis of counts and planning through the API."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.analysis.examples import ANALYSIS_EXAMPLE, FUNNEL_EXAMPLE, PLAN_EXAMPLE, POWER_EXAMPLE
from app.common import limits
from tests.support.examples import examples
from tests.support.service import Json, Service

pytestmark = pytest.mark.one_database

ANALYZE, POWER = "/experiments/analyze/", "/experiments/power/"
MEAN = {"key": "control", "number_of_samples": 1000, "sum": 500, "sum_squares": 900}
RATIO = {**MEAN, "denominator_sum": 2000, "denominator_sum_squares": 5000, "numerator_denominator_sum_product": 1100}


def two(variant: dict[str, Any], **changes: Any) -> list[dict[str, Any]]:
    return [variant, {**variant, "key": "test", **changes}]


def rounded(document: Json) -> Json:
    """Return a document with its numbers to ten digits: processors differ in the last ones."""
    if isinstance(document, dict):
        return {key: rounded(value) for key, value in document.items()}
    if isinstance(document, list):
        return [rounded(value) for value in document]
    return float(f"{document:.10g}") if isinstance(document, float) else document


async def test_examples_are_what_the_service_answers(service: Service) -> None:
    analysis, plan = await service.post(ANALYZE, FUNNEL_EXAMPLE), await service.post(POWER, POWER_EXAMPLE)

    assert analysis.status_code == 200
    assert rounded(analysis.json()) == rounded(ANALYSIS_EXAMPLE)
    assert (plan.status_code, plan.json()) == (200, PLAN_EXAMPLE)


@pytest.mark.parametrize(
    ("metric_type", "variants", "delta"),
    [
        ("funnel", two({"key": "control", "success_count": 100, "failure_count": 900}, success_count=110), 0.008911),
        ("count", two({"key": "control", "count": 300, "exposure": 1000}, count=380, exposure=1010.0), 0.076238),
        ("mean", two(MEAN, sum=550.5), 0.0505),
        ("ratio", two(RATIO, sum=550), 0.025),
    ],
)
async def test_every_kind_of_metric_is_analyzed(
    service: Service, metric_type: str, variants: list[dict[str, Any]], delta: float
) -> None:
    response = await service.post(ANALYZE, {"metric_type": metric_type, "variants": variants})

    assert response.status_code == 200, response.text
    control, test = response.json()["variants"]
    assert control["delta"] is None
    assert test["delta"] == pytest.approx(delta, abs=1e-6)
    assert test["credible_interval"][0] < test["posterior_mean"] < test["credible_interval"][1]
    for kind in ("delta_credible_interval", "confidence_interval", "sequential_interval"):
        assert test[kind][0] < delta < test[kind][1]
    for kind in ("relative_confidence_interval", "relative_sequential_interval", "delta_relative_credible_interval"):
        assert test[kind][0] < test["delta_relative"] < test[kind][1]
    assert control["probability_best"] + test["probability_best"] == pytest.approx(1)
    assert response.json()["sample_ratio_mismatch"] is None


async def test_samples_of_a_variant_that_was_to_have_none_are_a_mismatch(service: Service) -> None:
    body = {**FUNNEL_EXAMPLE, "expected_split": {"control": 1, "test": 0}}
    ratio = (await service.post(ANALYZE, body)).json()["sample_ratio_mismatch"]

    assert (ratio["chi_square"], ratio["p_value"], ratio["mismatch"]) == (None, 0, True)


async def test_conclusion_begins_with_a_broken_split(service: Service) -> None:
    body = {**FUNNEL_EXAMPLE, "expected_split": {"control": 0.4, "test": 0.6}}

    answer = (await service.post(ANALYZE, body)).json()
    assert answer["sample_ratio_mismatch"]["mismatch"]
    assert answer["conclusion"].startswith("Do not trust these figures yet")


async def test_conclusion_gives_no_figures_below_a_minimum_of_data(service: Service) -> None:
    variants = two({"key": "control", "success_count": 3, "failure_count": 37}, success_count=9, failure_count=31)

    answer = (await service.post(ANALYZE, {"metric_type": "funnel", "variants": variants})).json()
    assert answer["conclusion"] == "There are too few samples for a verdict: each variant needs 100."


async def test_conclusion_names_control_as_leader(service: Service) -> None:
    variants = two({"key": "control", "success_count": 150, "failure_count": 850}, success_count=90, failure_count=910)

    answer = (await service.post(ANALYZE, {"metric_type": "funnel", "variants": variants})).json()
    assert answer["leader"] == "control"
    assert answer["conclusion"].startswith("control leads, being the best with a probability of over 99.99%.")
    assert answer["conclusion"].endswith("It is significantly better than test: keep it.")


@pytest.mark.parametrize(
    ("change", "attr", "code"),
    [
        ({"metric_type": "retention"}, "metric_type", "invalid_choice"),
        ({"metric_type": None}, "metric_type", "invalid_choice"),
        (
            {"variants": two({"key": "a", "success_count": -1, "failure_count": 1})},
            "variants__0__success_count",
            "min_value",
        ),
        ({"variants": two({"key": "a", "success_count": 1})}, "variants__0__failure_count", "required"),
        (
            {"variants": two({"key": "a", "success_count": 1.5, "failure_count": 1})},
            "variants__0__success_count",
            "invalid_input",
        ),
        (
            {"variants": two({"key": "a", "success_count": 10**19, "failure_count": 1})},
            "variants__0__success_count",
            "max_value",
        ),
        ({"variants": []}, "variants", "too_short"),
        ({"expected_split": {"control": 1}}, None, "invalid_input"),
        ({"expected_split": {"control": 0, "test": 0}}, None, "invalid_input"),
        ({"stats_config": {"baseline_variant_key": "nobody"}}, None, "invalid_input"),
        ({"stats_config": {"confidence_level": 1}}, "stats_config__confidence_level", "max_value"),
        ({"metric_type": "mean", "variants": two(MEAN, sum_squares=1)}, None, "invalid_input"),
    ],
)
async def test_contradictory_counts_are_refused(
    service: Service, change: dict[str, Any], attr: str | None, code: str
) -> None:
    response = await service.post(ANALYZE, {**FUNNEL_EXAMPLE, **change})

    assert (response.status_code, response.json()["attr"], response.json()["code"]) == (400, attr, code), response.text


async def test_invalid_numbers_are_refused(service: Service) -> None:
    text = json.dumps({**FUNNEL_EXAMPLE, "expected_split": {"control": float("nan"), "test": 1}})

    response = await service.request("POST", ANALYZE, content=text, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["attr"]) == (400, "expected_split__control")


COVARIATE = {"covariate_sum": 400, "covariate_sum_squares": 800, "main_covariate_sum_product": 500}


async def test_covariate_adjusts_a_mean_and_both_numbers_are_shown(service: Service) -> None:
    variants = two(MEAN | COVARIATE, sum=550, covariate_sum=410)
    answer = (await service.post(ANALYZE, {"metric_type": "mean", "variants": variants})).json()
    plain = (await service.post(ANALYZE, {"metric_type": "mean", "variants": two(MEAN, sum=550)})).json()

    control, test = answer["variants"]
    assert (control["unadjusted_mean"], test["unadjusted_mean"]) == (0.5, 0.55)
    theta = (1000 - 1050 * 810 / 2000) / (1600 - 810**2 / 2000)
    assert test["theta"] == control["theta"] == pytest.approx(theta)
    assert test["delta"] == pytest.approx(0.05 - theta * 0.01)
    assert test["variance_reduction"] > 0.1
    assert control["covariate_p_value"] is None
    assert 0.5 < test["covariate_p_value"] < 1
    unadjusted = plain["variants"][1]
    assert unadjusted["theta"] is unadjusted["unadjusted_mean"] is unadjusted["variance_reduction"] is None
    assert test["p_value"] != unadjusted["p_value"]


async def test_conclusion_begins_with_a_difference_before_the_exposure(service: Service) -> None:
    variants = two(MEAN | COVARIATE, covariate_sum=600)

    answer = (await service.post(ANALYZE, {"metric_type": "mean", "variants": variants})).json()
    assert answer["variants"][1]["validation_failures"] == ["pre-exposure-bias"]
    assert answer["conclusion"].startswith(
        "Do not trust these figures yet: test differed from control before the exposure"
    )


@pytest.mark.parametrize(
    ("metric_type", "variants", "attr"),
    [
        ("mean", two(MEAN | {"covariate_sum": 1}), "variants__0"),
        ("ratio", two(RATIO | COVARIATE), "variants__0"),
        ("count", two({"key": "control", "count": 1, "exposure": 10} | COVARIATE), "variants__0"),
        ("mean", [MEAN, {**MEAN, **COVARIATE, "key": "test"}], None),
    ],
)
async def test_covariates_that_cannot_adjust_are_refused(
    service: Service, metric_type: str, variants: list[dict[str, Any]], attr: str | None
) -> None:
    response = await service.post(ANALYZE, {"metric_type": metric_type, "variants": variants})

    assert (response.status_code, response.json()["attr"]) == (400, attr), response.text


async def test_counts_may_name_their_persons_beside_the_exposure(service: Service) -> None:
    hours = {"key": "control", "count": 300, "exposure": 50, "number_of_samples": 1000}
    answer = (await service.post(ANALYZE, {"metric_type": "count", "variants": two(hours, count=380)})).json()

    test = answer["variants"][1]
    assert (test["number_of_samples"], test["mean"], test["significance_code"]) == (1000, 7.6, "high_p_value")


hostile = (
    st.sampled_from([0, 1, -1, 5, 1e-300, 1e18, 10**18, 1e150, 1e300, 1.5, True, None, "1", 100, 1000]) | st.floats()
)
FIELDS = ["success_count", "failure_count", "count", "exposure", "number_of_samples", "sum", "sum_squares"]
FIELDS += ["denominator_sum", "denominator_sum_squares", "numerator_denominator_sum_product"]


def of_fields(*names: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(st.fixed_dictionaries(dict.fromkeys(names, hostile)), min_size=1, max_size=4)


@settings(max_examples=examples(150), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    question=st.tuples(st.sampled_from(["funnel", "count", "mean", "ratio"]), of_fields(*FIELDS))
    | st.tuples(st.just("mean"), of_fields(*FIELDS, *COVARIATE)),
)
async def test_hostile_counts_are_refused_or_analyzed(
    service: Service, question: tuple[str, list[dict[str, Any]]]
) -> None:
    metric_type, variants = question
    body = {
        "metric_type": metric_type,
        "variants": [{"key": f"v{index}", **variant} for index, variant in enumerate(variants)],
    }
    headers = {"Content-Type": "application/json"}
    response = await service.request("POST", ANALYZE, content=json.dumps(body), headers=headers)

    assert response.status_code in {200, 400}, response.text


@settings(max_examples=examples(150), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    plan=st.fixed_dictionaries(
        {
            "metric_type": st.sampled_from(["funnel", "count", "mean"]),
            "method": st.sampled_from(["verdict", "two_sample", "posthog_2022"]),
            "baseline": hostile | st.floats(0, 1),
            "relative": st.booleans(),
            "variants": st.integers(2, 4),
            "stats_config": st.fixed_dictionaries(
                {
                    "method": st.sampled_from(["bayesian", "frequentist"]),
                    "sequential": st.fixed_dictionaries({"enabled": st.booleans()}),
                    "multiple_testing": st.sampled_from(["none", "holm"]),
                }
            ),
        },
        optional={"variance": hostile, "exposures_per_day": hostile},
    ),
    quantity=st.sampled_from(["minimum_detectable_effect", "sample_size", "running_time"]),
    value=hostile | st.floats(0, 1),
)
async def test_hostile_plans_are_refused_or_answered(
    service: Service, plan: dict[str, Any], quantity: str, value: object
) -> None:
    text = json.dumps({**plan, quantity: value})
    response = await service.request("POST", POWER, content=text, headers={"Content-Type": "application/json"})

    assert response.status_code in {200, 400}, response.text


CALCULATOR = {"method": "two_sample"}
ONE_LOOK = {"stats_config": {"method": "frequentist", "sequential": {"enabled": False}}}


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        (CALCULATOR | {"baseline": 0.20625, "minimum_detectable_effect": 0.01}, {"sample_size_per_variant": 25_835}),
        (
            CALCULATOR | {"baseline": 0.1093125, "minimum_detectable_effect": 0.0075},
            {"sample_size_per_variant": 27_414},
        ),
        (CALCULATOR | {"baseline": 0.53, "minimum_detectable_effect": 0.01}, {"sample_size_per_variant": 39_087}),
        ({}, {"sample_size_per_variant": 7589, "rule": "anytime_valid"}),
        # R: power.prop.test(p1 = 0.1, p2 = 0.12, power = 0.8), power.t.test(delta = 1, sd = 10, power = 0.8)
        (ONE_LOOK, {"sample_size_per_variant": 3841, "rule": "confidence_interval", "single_look": None}),
        (
            ONE_LOOK | {"metric_type": "mean", "baseline": 10, "variance": 100, "minimum_detectable_effect": 1},
            {"sample_size_per_variant": 1571},
        ),
        (
            {"baseline": 0.1, "minimum_detectable_effect": 0.05, "method": "posthog_2022"},
            {"sample_size_per_variant": 576},
        ),
        (
            {"baseline": 0.1, "minimum_detectable_effect": 0.2, "relative": True, "method": "posthog_2022"},
            {"sample_size_per_variant": 3600, "recommended_sample_size": 7200, "recommended_running_time": 7.2},
        ),
        (
            {"baseline": 0.2, "minimum_detectable_effect": 0.1, "method": "posthog_2022"},
            {"sample_size_per_variant": 256},
        ),
        (
            {"metric_type": "count", "baseline": 1000 / 14 / 1000, "minimum_detectable_effect": 0.05, "relative": True}
            | {"method": "posthog_2022"},
            {"recommended_running_time": 91.8, "recommended_sample_size": None},
        ),
        (
            CALCULATOR | {"metric_type": "mean", "baseline": 10, "variance": 100, "minimum_detectable_effect": 1},
            {"sample_size_per_variant": 1570},
        ),
    ],
)
async def test_published_plans_have_their_published_sizes(
    service: Service, changes: dict[str, Any], answer: dict[str, Any]
) -> None:
    response = await service.post(POWER, {**POWER_EXAMPLE, **changes})

    assert response.status_code == 200, response.text
    assert {name: response.json()[name] for name in answer} == pytest.approx(answer)


@pytest.mark.parametrize("method", ["verdict", "two_sample", "posthog_2022"])
@pytest.mark.parametrize("metric_type", ["funnel", "count"])
async def test_size_days_and_effect_determine_each_other(service: Service, metric_type: str, method: str) -> None:
    question = {**POWER_EXAMPLE, "metric_type": metric_type, "method": method}
    plan = (await service.post(POWER, question)).json()
    del question["minimum_detectable_effect"]

    by_days = await service.post(POWER, {**question, "running_time": plan["recommended_running_time"]})
    assert by_days.json()["minimum_detectable_effect"] == pytest.approx(0.02, rel=0.01)
    size = plan["recommended_running_time"] * 1000
    by_size = await service.post(POWER, {**question, "sample_size": size})
    assert by_size.json()["minimum_detectable_effect"] == pytest.approx(0.02, rel=0.01)


@pytest.mark.parametrize(
    ("changes", "attr"),
    [
        ({"sample_size": 100}, "minimum_detectable_effect"),
        ({"minimum_detectable_effect": 0}, "minimum_detectable_effect"),
        ({"minimum_detectable_effect": 0.95}, "minimum_detectable_effect"),
        ({"minimum_detectable_effect": 1e-150}, "minimum_detectable_effect"),
        ({"baseline": 1}, "baseline"),
        ({"metric_type": "mean"}, "variance"),
        ({"alpha": 0}, "alpha"),
        ({"alpha": 0.1}, "alpha"),
        ({"variants": 1}, "variants"),
    ],
)
async def test_contradictory_plans_are_refused(service: Service, changes: dict[str, Any], attr: str) -> None:
    response = await service.post(POWER, {**POWER_EXAMPLE, **changes})

    assert (response.status_code, response.json()["attr"]) == (400, attr), response.text


async def test_counts_have_a_size_and_a_split_has_as_many_weights_as_there_may_be_variants(service: Service) -> None:
    def body(variants: int, weights: int, padding: int = 0) -> dict[str, object]:
        counts = [{"key": f"v{n}", "success_count": 1, "failure_count": 9} for n in range(variants)]
        split = {f"v{n}": 1 for n in range(weights)}
        filling = {"padding": "x" * padding} if padding else {}
        return {"metric_type": "funnel", "variants": counts, "expected_split": split, **filling}

    most = limits.VARIANTS.value

    assert (await service.post(ANALYZE, body(most, most))).status_code == 200
    assert (await service.post(ANALYZE, body(most + 1, most))).json()["attr"] == "variants"
    assert (await service.post(ANALYZE, body(most, most + 1))).json()["attr"] == "expected_split"
    for path in (ANALYZE, POWER):
        refused = await service.post(path, body(2, 2, limits.ANALYZED_VARIANTS_BYTES.value))
        assert (refused.status_code, refused.json()["detail"]) == (413, limits.ANALYZED_VARIANTS_BYTES.detail)
