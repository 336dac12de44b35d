"""When a decision is to ship, roll back, review, or keep running."""

import pytest

from app.experiments.scorecard.decision import DecidedMetric, decide
from app.experiments.scorecard.decision_criteria import Criteria, MetricRole
from app.statistics.analysis import analyze_metric
from app.statistics.results import Analysis, AnalysisConfig
from app.statistics.variants import FunnelVariant

HARMFUL = (2000, 1500)
HARMLESS = (2000, 2020)


def analyzed(control: int, test: int, persons: int = 10_000) -> Analysis:
    variants = [FunnelVariant("control", control, persons - control), FunnelVariant("test", test, persons - test)]
    return analyze_metric(variants, AnalysisConfig())


def primary(control: int, test: int, persons: int = 10_000, **role: object) -> DecidedMetric:
    analysis = analyzed(control, test, persons)
    return DecidedMetric("primary", "Purchases", MetricRole("primary", **role), analysis)  # type: ignore[arg-type]


def guardrail(control: int, test: int, persons: int = 10_000, **role: object) -> DecidedMetric:
    analysis = analyzed(control, test, persons)
    return DecidedMetric("secondary-0", "Visits", MetricRole("guardrail", **role), analysis)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("told", "metric", "guardrails", "preset", "runtime", "expected"),
    [
        ("a significant gain is shipped", primary(1000, 1500), [], "clear_signals", 14, ("ship", "test")),
        ("fewer may be better", primary(1500, 1000, goal="decrease"), [], "clear_signals", 14, ("ship", "test")),
        ("not before the shortest time", primary(1000, 1500), [], "clear_signals", 3, ("keep_running", None)),
        ("a loss goes back at once", primary(1500, 1000), [], "clear_signals", 3, ("rollback", "control")),
        ("nothing clear runs on", primary(10, 12, 100), [], "clear_signals", 14, ("keep_running", None)),
        ("until it would show", primary(50_000, 50_100, 100_000), [], "clear_signals", 14, ("review", None)),
        ("what does no harm may be shipped", primary(50_000, 50_100, 100_000), [], "do_no_harm", 14, ("ship", "test")),
        (
            "a gain at a guardrail's cost is for people",
            primary(1000, 1500),
            [guardrail(*HARMFUL)],
            "clear_signals",
            14,
            ("review", "test"),
        ),
        (
            "a guardrail that bears it does not stop a gain",
            primary(1000, 1500),
            [guardrail(5000, 4950, margin=0.2)],
            "do_no_harm",
            14,
            ("ship", "test"),
        ),
        (
            "an open guardrail stops it where no harm may be done",
            primary(1000, 1500),
            [guardrail(10, 9, 100)],
            "do_no_harm",
            14,
            ("keep_running", None),
        ),
        ("what may do harm is not shipped as harmless", primary(2000, 1870), [], "do_no_harm", 14, ("review", None)),
        (
            "harm without gain goes back",
            primary(1000, 1010),
            [guardrail(*HARMFUL)],
            "clear_signals",
            3,
            ("rollback", "control"),
        ),
    ],
)
def test_recommendations(
    told: str,
    metric: DecidedMetric,
    guardrails: list[DecidedMetric],
    preset: str,
    runtime: float,
    expected: tuple[str, str | None],
) -> None:
    decision = decide(metric, guardrails, None, Criteria(preset=preset), runtime)  # type: ignore[arg-type]

    assert (decision.recommendation, decision.variant) == expected, told
    assert decision.reasons


def test_time_left_shrinks_with_the_square_of_the_precision() -> None:
    few = decide(primary(100, 100, 1000), [], None, Criteria(), runtime=10).progress
    many = decide(primary(400, 400, 4000), [], None, Criteria(), runtime=40).progress

    assert few.precision < many.precision < 1
    assert few.days_left is not None
    assert many.days_left is not None
    assert many.days_left + 40 == pytest.approx(few.days_left + 10, rel=0.25)  # anytime-valid: not quite the square


def test_missing_metric_blocks_the_decision() -> None:
    missing = DecidedMetric("primary", "Purchases", MetricRole("primary"), None, "The funnel has no steps.")

    decision = decide(missing, [], None, Criteria(), runtime=14)

    assert (decision.recommendation, [reason.detail for reason in decision.reasons]) == (
        "blocked",
        ["The funnel has no steps."],
    )


def test_winner_with_an_open_guardrail_keeps_running() -> None:
    keys = (("control", 1000), ("test", 1500), ("other", 1000))
    analysis = analyze_metric([FunnelVariant(key, count, 10_000 - count) for key, count in keys], AnalysisConfig())
    metric = DecidedMetric("primary", "Purchases", MetricRole("primary"), analysis)

    decision = decide(metric, [guardrail(10, 9, 100)], None, Criteria("do_no_harm"), runtime=14)

    assert decision.recommendation == "keep_running"
    assert [reason.code for reason in decision.reasons] == ["metric_improved", "guardrail_open"]


def test_variant_without_data_does_not_delay_the_decision() -> None:
    keys = (("control", 2000, 8000), ("test", 1000, 9000), ("empty", 0, 0))
    metric = DecidedMetric(
        "primary",
        "Purchases",
        MetricRole("primary"),
        analyze_metric([FunnelVariant(*counts) for counts in keys], AnalysisConfig()),
    )

    decision = decide(metric, [], None, Criteria(), runtime=14)

    assert (decision.recommendation, decision.variant) == ("rollback", "control")
    assert decision.progress.precision > 0


def test_ended_experiment_is_never_kept_running() -> None:
    decision = decide(primary(10, 12, 100), [], None, Criteria(), runtime=14, is_over=True)

    assert decision.recommendation == "review"
    assert decision.reasons[0].code == "ended"
    assert decision.progress.days_left is None
