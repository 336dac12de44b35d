"""Plans, held against simulations of the rule that decides."""

import math

import numpy as np
import pytest

from app.statistics.frequentist.power import PowerInputs, detects, smallest_difference, smallest_size
from benchmarks.power import Case, cases, measure

RUNS = 400
SLACK = 4 * math.sqrt(0.8 * 0.2 / RUNS)  # four standard deviations of a share; the benchmark has more runs and cases
CASES = {
    ("conversion", "anytime-valid", 4, "holm"),
    ("count", "anytime-valid", 2, "none"),
    ("mean", "confidence interval", 2, "none"),
}
SIMULATED = [
    case
    for case in cases()
    if (case.metric, case.rule, case.request.variants, case.request.stats_config.multiple_testing) in CASES
]


@pytest.mark.parametrize(
    "case", SIMULATED, ids=[f"{case.metric}, {case.rule}, {case.request.variants} variants" for case in SIMULATED]
)
def test_verdict_finds_the_planned_effect_with_the_planned_power(case: Case) -> None:
    _, [found] = measure(case, RUNS, np.random.default_rng(7))

    assert found == pytest.approx(0.8, abs=SLACK)


def test_single_look_misses_half_of_what_the_anytime_valid_rule_is_planned_for() -> None:
    """0.10 and 0.02: 3,623 persons in each group were planned before, and find it in about 42 % of experiments."""
    inputs = PowerInputs("funnel", 0.1, 0.05, 0.8, tuning=5000)

    assert smallest_size(inputs, "common", 0.02) == 3623
    assert smallest_size(inputs, "anytime_valid", 0.02) == 7589
    assert not detects(inputs, "anytime_valid", 0.02, 7588)


@pytest.mark.parametrize("kind", ["funnel", "count", "mean"])
@pytest.mark.parametrize("rule", ["anytime_valid", "credible_interval", "confidence_interval", "common"])
@pytest.mark.parametrize("baseline", [1e-9, 0.3, 1 - 1e-9])
def test_size_and_difference_are_each_others_inverse(kind: str, rule: str, baseline: float) -> None:
    inputs = PowerInputs(kind, baseline, 0.05, 0.8, 5000, variance=4.0)  # type: ignore[arg-type]  # a parameter
    for size in (150.0, 1e5, 1e12):
        difference = smallest_difference(inputs, rule, size, 1 - baseline)  # type: ignore[arg-type]  # a parameter
        if difference is None:
            continue
        again = smallest_size(inputs, rule, difference)  # type: ignore[arg-type]  # a parameter
        assert again == pytest.approx(size, abs=1.1, rel=1e-9)


def test_no_verdict_means_no_detectable_difference() -> None:
    inputs = PowerInputs("funnel", 0.1, 0.05, 0.8, tuning=5000)

    assert smallest_difference(inputs, "anytime_valid", 99, 0.9) is None
    assert smallest_size(inputs, "anytime_valid", 0.9) == 100
