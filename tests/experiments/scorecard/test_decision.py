"""What is recommended in each state of an experiment, by what its data show."""

from dataclasses import replace

import pytest

from app.experiments.scorecard.decision import Decision, decide
from app.experiments.scorecard.decision_criteria import Criteria, MetricRole
from app.experiments.scorecard.decision_table import EVIDENCE, STATES, TABLE, TITLES
from app.experiments.scorecard.standings import DecidedMetric
from app.experiments.scorecard.states import Phase, Situation
from app.statistics.analysis import analyze_metric
from app.statistics.frequentist.sample_ratio import check_sample_ratio
from app.statistics.results import Analysis, AnalysisConfig
from app.statistics.variants import FunnelVariant, MeanVariant

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


ONE_LOOK = AnalysisConfig(is_sequential=False)
CONFIGS = [AnalysisConfig(), ONE_LOOK, AnalysisConfig(method="frequentist", is_sequential=False)]


def mean(
    sums: dict[str, tuple[int, float, float]],
    goal: str = "increase",
    role: str = "guardrail",
    config: AnalysisConfig | None = None,
) -> DecidedMetric:
    """Return a metric of means, from persons, mean and standard deviation of each variant."""
    variants = [
        MeanVariant(key, persons, persons * center, persons * center**2 + (persons - 1) * deviation**2)
        for key, (persons, center, deviation) in sums.items()
    ]
    analysis = analyze_metric(variants, config or AnalysisConfig())
    return DecidedMetric(role, "Balance", MetricRole(role, goal), analysis)  # type: ignore[arg-type]


def running(runtime: float = 14.0, phase: Phase = "running") -> Situation:
    return Situation(phase, runtime, "control")


def several(tests: int, best: int, persons: int = 10_000, config: AnalysisConfig | None = None) -> DecidedMetric:
    """Return a metric of a control and some test variants, of which one has ``best`` conversions and others 1,000."""
    counts = [1000, *[1000] * (tests - 1), best]
    variants = [
        FunnelVariant(f"test-{index}" if index else "control", count, persons - count)
        for index, count in enumerate(counts)
    ]
    return DecidedMetric(
        "primary", "Purchases", MetricRole("primary"), analyze_metric(variants, config or AnalysisConfig())
    )


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
            ("review", None),
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
    decision = decide(metric, guardrails, None, Criteria(preset=preset), running(runtime))  # type: ignore[arg-type]

    assert (decision.recommendation, decision.variant) == expected, told
    assert decision.reasons


def test_every_state_has_an_answer_to_all_evidence() -> None:
    assert set(TABLE) == set(STATES)
    for state, answers in TABLE.items():
        assert set(answers) == set(EVIDENCE), state
        for evidence, answer in answers.items():
            assert answer.recommendation in TITLES
            advises = answer.recommendation in {"ship", "rollback"}
            assert not advises or evidence not in {"no_data", "not_enough_data", "not_comparable", "split_mismatch"}
            assert not advises or answer.serves is not None
            is_running = state not in {"ended", "ended_below_minimum_time", "shipped", "concluded"}
            assert (answer.serves is None) == (is_running and not advises), (state, evidence)


NOTHING = primary(0, 0, 0)
FEW = primary(1, 3, 20)
GAIN, LOSS, OPEN, PRECISE = (
    primary(1000, 1500),
    primary(1500, 1000),
    primary(10, 12, 100),
    primary(50_000, 50_100, 100_000),
)


@pytest.mark.parametrize(
    ("phase", "metric", "recommendation", "variant"),
    [
        ("draft", NOTHING, "wait", None),
        ("scheduled", NOTHING, "wait", None),
        ("running", NOTHING, "wait", None),
        ("running", FEW, "keep_running", None),
        ("paused", NOTHING, "resume", None),
        ("paused", OPEN, "resume", None),
        ("paused", GAIN, "ship", "test"),
        ("paused", LOSS, "rollback", "control"),
        ("ended", NOTHING, "blocked", "control"),
        ("ended", FEW, "blocked", "control"),
        ("ended", OPEN, "review", "control"),
        ("ended", PRECISE, "review", "control"),
        ("ended", GAIN, "ship", "test"),
        ("ended", LOSS, "rollback", "control"),
    ],
)
def test_state_decides_with_the_data(phase: Phase, metric: DecidedMetric, recommendation: str, variant: str) -> None:
    decision = decide(metric, [], None, Criteria(), running(phase=phase))

    assert (decision.recommendation, decision.variant) == (recommendation, variant)


@pytest.mark.parametrize("metric", [NOTHING, FEW, GAIN, LOSS, OPEN, PRECISE])
@pytest.mark.parametrize("phase", ["shipped", "concluded"])
def test_what_was_decided_stands_whatever_the_data_say(phase: Phase, metric: DecidedMetric) -> None:
    situation = Situation(phase, 14, "control", "test", "test was shipped to everyone.")

    decision = decide(metric, [], check_sample_ratio({"a": 900, "b": 100}, {"a": 1, "b": 1}), Criteria(), situation)

    assert (decision.recommendation, decision.variant) == ("decided", "test")
    assert decision.advice.startswith("test was shipped to everyone.")


def test_broken_split_blocks_and_names_no_variant() -> None:
    decision = decide(GAIN, [], check_sample_ratio({"a": 900, "b": 100}, {"a": 1, "b": 1}), Criteria(), running())

    assert (decision.evidence, decision.recommendation, decision.variant) == ("split_mismatch", "blocked", None)


@pytest.mark.parametrize("phase", ["running", "paused", "ended"])
def test_gain_is_not_shipped_before_the_minimum_time(phase: Phase) -> None:
    decision = decide(GAIN, [], None, Criteria(), running(3, phase))

    assert decision.recommendation == {"running": "keep_running", "paused": "resume", "ended": "review"}[phase]
    assert "minimum_runtime" in {reason.code for reason in decision.reasons}


FLAT = {"control": (5000, 10.0, 5.0), "test": (5000, 10.0, 5.0)}


@pytest.mark.parametrize(
    ("harmed", "goal"),
    [
        ({"control": (1000, 0.0, 0.0), "test": (1000, 0.3, 0.5)}, "decrease"),
        ({"control": (1000, -1.0, 3.0), "test": (1000, -10.0, 3.0)}, "increase"),
        ({"control": (1000, -10.0, 3.0), "test": (1000, -1.0, 3.0)}, "decrease"),
        ({"control": (1000, 0.0, 3.0), "test": (1000, -5.0, 3.0)}, "increase"),
        ({"control": (1000, 0.01, 3.0), "test": (1000, -5.0, 3.0)}, "increase"),  # too close to 0 to divide by
        ({"control": (1000, 10.0, 3.0), "test": (1000, 5.0, 3.0)}, "increase"),
    ],
    ids=str,
)
@pytest.mark.parametrize("config", CONFIGS, ids=["anytime-valid", "posterior", "p-value"])
def test_guardrail_is_harmed_whatever_its_baseline(
    harmed: dict[str, tuple[int, float, float]], goal: str, config: AnalysisConfig
) -> None:
    other = "increase" if goal == "decrease" else "decrease"
    guard, mirrored = mean(harmed, goal, config=config), mean(harmed, other, config=config)

    assert decide(GAIN, [guard], None, Criteria(), running()).evidence == "superior_with_harmed_guardrail"
    assert decide(OPEN, [guard], None, Criteria(), running()).recommendation == "rollback"
    assert decide(GAIN, [mirrored], None, Criteria("do_no_harm"), running()).recommendation == "ship"


def test_guardrail_without_a_single_event_of_the_baseline_is_harmed() -> None:
    decision = decide(GAIN, [guardrail(0, 300, 1000, goal="decrease")], None, Criteria(), running())

    assert [reason.code for reason in decision.reasons] == ["metric_improved", "guardrail_harmed"]


def test_margin_of_a_negative_baseline_is_a_share_of_its_size() -> None:
    precise = {"control": (100_000, -100.0, 10.0), "test": (100_000, -103.0, 10.0)}

    within = decide(mean(precise, role="primary"), [], None, Criteria("do_no_harm"), running())
    guard = decide(GAIN, [mean(precise)], None, Criteria("do_no_harm"), running())

    assert within.progress.precision == 1
    assert (within.evidence, guard.evidence) == ("control_wins", "superior")


def test_few_persons_neither_clear_a_guardrail_nor_harm_it() -> None:
    decision = decide(GAIN, [guardrail(0, 30, 60, goal="decrease")], None, Criteria("do_no_harm"), running())

    assert decision.evidence == "superior_with_open_guardrail"


def test_chance_find_among_many_variants_is_not_shipped() -> None:
    """Nine variants, the best with a p-value of 0.026 for a look at the end."""
    one_look = AnalysisConfig(method="frequentist", is_sequential=False)
    unadjusted = AnalysisConfig(method="frequentist", is_sequential=False, correction="none")

    many, alone = several(9, 1097, config=one_look), several(1, 1097, config=one_look)

    assert decide(several(9, 1097, config=unadjusted), [], None, Criteria(), running()).recommendation == "ship"
    assert decide(alone, [], None, Criteria(), running()).recommendation == "ship"
    assert decide(many, [], None, Criteria(), running()).evidence == "no_clear_effect"
    assert decide(several(9, 1500, config=one_look), [], None, Criteria(), running()).variant == "test-9"


def test_chance_harmlessness_among_many_variants_is_not_shipped() -> None:
    """A variant that alone would be within its margin has to be so at the level that holds for all variants."""
    counts = {"control": (30_000, 10.0, 5.0), "test": (30_000, 10.0, 5.0)}
    alone, together = (
        mean(counts, role="primary", config=AnalysisConfig(confidence_level=1 - alpha)) for alpha in (0.05, 0.05 / 9)
    )
    role = MetricRole("primary", margin=-(worst(alone) + worst(together)) / 2)
    metric = replace(alone, role=role)

    assert decide(metric, [], None, Criteria("do_no_harm"), running()).evidence == "equivalent"
    held = decide(replace(metric, cautious=together.analysis), [], None, Criteria("do_no_harm"), running())
    assert held.evidence == "no_clear_effect"


def worst(metric: DecidedMetric) -> float:
    """Return the lower end of the relative anytime-valid interval of the second variant."""
    assert metric.analysis is not None
    interval = metric.analysis.variants[1].relative_difference.sequential_interval
    assert interval is not None
    return interval[0]


def test_time_left_shrinks_with_the_square_of_the_precision() -> None:
    few = decide(primary(100, 100, 1000), [], None, Criteria(), running(10)).progress
    many = decide(primary(400, 400, 4000), [], None, Criteria(), running(40)).progress

    assert few.precision < many.precision < 1
    assert few.days_left is not None
    assert many.days_left is not None
    assert many.days_left + 40 == pytest.approx(few.days_left + 10, rel=0.25)  # anytime-valid: not quite the square


def test_time_beyond_ten_years_is_not_estimated() -> None:
    decision = decide(primary(10, 12, 100), [], None, Criteria(target_effect=0.01), running(30))

    assert decision.progress.days_left is None
    assert decision.advice == "Keep it running: more than ten years at this pace."
    assert not any("day" in reason.detail for reason in decision.reasons)


def test_missing_metric_blocks_the_decision() -> None:
    missing = DecidedMetric("primary", "Purchases", MetricRole("primary"), None, "The funnel has no steps.")

    decision = decide(missing, [], None, Criteria(), running())

    assert (decision.recommendation, [reason.detail for reason in decision.reasons]) == (
        "blocked",
        ["The funnel has no steps."],
    )


def test_winner_with_an_open_guardrail_keeps_running() -> None:
    decision = decide(several(2, 1500), [guardrail(10, 9, 100)], None, Criteria("do_no_harm"), running())

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

    decision = decide(metric, [], None, Criteria(), running())

    assert (decision.recommendation, decision.variant) == ("rollback", "control")
    assert decision.progress.precision > 0


def test_losing_variant_beside_an_open_one_does_not_end_the_experiment() -> None:
    keys = (("control", 200, 800), ("worse", 50, 950), ("open", 205, 795))
    metric = DecidedMetric(
        "primary",
        "Purchases",
        MetricRole("primary"),
        analyze_metric([FunnelVariant(*counts) for counts in keys], AnalysisConfig()),
    )

    decision: Decision = decide(metric, [], None, Criteria(), running())

    assert (decision.evidence, decision.recommendation) == ("inferior", "keep_running")
