"""The scorecard of an experiment, the analysis of every day so far, and the decision, as clients read them."""

from typing import Annotated, Literal, TypeAlias

from pydantic import ConfigDict, Field, model_validator

from app.accounts.projects.schemas import CupedConfig
from app.analysis.config_schemas import StatsConfig
from app.analysis.schemas import AnalysisRead, SampleRatioRead
from app.common import limits
from app.experiments.exposures.schemas import DateRangeRead
from app.experiments.scorecard.breakdown_schemas import BreakdownRead
from app.experiments.scorecard.copied_settings import read_copied_settings
from app.experiments.scorecard.decision_criteria import (
    DEFAULT_EFFECT,
    DEFAULT_RUNTIME,
    Preset,
    Role,
)
from app.experiments.scorecard.decision_table import Evidence, Recommendation, State
from app.experiments.scorecard.examples import DECISION_EXAMPLE, SCORECARD_EXAMPLE, TIMESERIES_EXAMPLE
from app.experiments.scorecard.steps import StepInterval
from app.http.fields import Text
from app.http.schemas import ResponseBody, StrictBody
from app.metrics.queries.scope import AttributedBy
from app.statistics.frequentist.multiplicity import Correction
from app.statistics.results import Goal

MetricStatus: TypeAlias = Literal["ok", "insufficient_data", "unavailable"]
Basis: TypeAlias = Literal["anytime_valid", "p_value", "posterior"]

_STATUS = "`ok`; `insufficient_data`: nothing to compare yet; `unavailable`: no analysis is possible, see `detail`."


class ExperimentStatsConfig(StatsConfig):
    excluded_variants: list[Text] = Field(
        default=[],
        max_length=limits.VARIANTS.value,
        description="Variants of the flag that are not compared: `analysis`, `decision` and the test of the split "
        "leave them out, `exposures` still shows them. Not the baseline, and at least two have to be left.",
        examples=[["large"]],
    )
    cuped: CupedConfig | None = Field(
        default=None,
        description="Adjust typed means, ratios, ordered funnels and `dau` by a covariate; null: do not. Unless it is "
        "given, `default_cuped` "
        "of the project decides.",
    )

    @model_validator(mode="before")
    @classmethod
    def _read_copied(cls, document: object) -> object:
        return read_copied_settings(document)


class DecisionCriteria(StrictBody):
    """When an experiment is decided."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"preset": "do_no_harm", "target_mde": 0.05}]})

    preset: Preset = Field(
        default="clear_signals",
        description="`clear_signals`: ship what is significantly better. `do_no_harm`: ship also what is precise "
        "enough and neither worse than the baseline nor harmful to a guardrail.",
    )
    target_mde: Annotated[float, Field(gt=0, le=10, strict=True)] = Field(
        default=DEFAULT_EFFECT, description="The smallest relative change worth detecting: 0.1 is 10 %."
    )
    minimum_runtime_days: Annotated[float, Field(ge=0, le=3650)] = Field(
        default=DEFAULT_RUNTIME, description="Nothing is shipped before the experiment has run for this number of days."
    )
    goal: Goal = Field(
        default="increase",
        description="Whether more of the target metric is better, or less; a typed metric may state its own `goal`.",
    )


class CappedRead(ResponseBody):
    """The caps of a value, and how many persons of all variants were moved to them (winsorizing)."""

    lower: float | None = Field(description="The lower cap; null where there is none.", examples=[None])
    upper: float | None = Field(description="The upper cap; null where there is none.", examples=[362.2])
    persons_below: int = Field(description="Persons whose value was below the lower cap.", examples=[0])
    persons_above: int = Field(description="Persons whose value was above the upper cap.", examples=[28])


class MetricAnalysisRead(ResponseBody):
    metric_id: str = Field(
        description="`primary`; `secondary-` and the metric's index in `secondary_metrics`, from 0; or the uuid of a "
        "typed metric. Without `filters`, the first typed metric that is not a guardrail is `primary`.",
        examples=["primary"],
    )
    uuid: str | None = Field(default=None, description="The id of a typed metric; null for others.", examples=[None])
    metric_type: Literal["mean", "funnel", "ratio", "retention", "quantile"] | None = Field(
        default=None, description="The type of a typed metric; null for others.", examples=[None]
    )
    name: str = Field(examples=["Purchases"])
    role: Role = Field(description="A guardrail only has to show that it is not harmed.")
    goal: Goal
    status: MetricStatus = Field(description=_STATUS)
    detail: str = Field(
        description="Why there is no analysis, or nothing to compare, if the reason is known; else empty.",
        examples=[""],
    )
    measure: str = Field(
        default="",
        description="What the mean of a variant is, in words; names stand in backticks. Empty where the metric cannot "
        "be compared.",
        examples=["share of persons with `visit` who went on to `purchase` within 14 days"],
    )
    mean_name: str = Field(default="", description="The same in a few words.", examples=["conversion rate"])
    sum_name: str = Field(default="", description="What `sum` of a variant is.", examples=["converted"])
    exposed: dict[str, int] | None = Field(
        default=None,
        description="Of a typed metric: the persons who were exposed to each variant. `number_of_samples` are those of "
        "them who are analyzed: with `only_count_matured_users` those whose window is over, in a retention those who "
        "have started.",
        examples=[None],
    )
    step_counts: dict[str, list[int]] | None = Field(
        default=None,
        description="Of funnels and retention: the persons of each variant at each step. In typed funnels the exposure "
        "is the first one; in unordered ones the later ones are those who had done one, two, ... of the steps. In a "
        "retention they are those who started and those who came back.",
        examples=[{"control": [1000, 100], "test": [1000, 150]}],
    )
    step_names: list[str] | None = Field(
        default=None, description="What the steps of a typed funnel or retention are.", examples=[None]
    )
    capped: CappedRead | None = Field(default=None, description="Of a mean with outliers.", examples=[None])
    numerator_capped: CappedRead | None = Field(default=None, description="Of a ratio.", examples=[None])
    denominator_capped: CappedRead | None = Field(default=None, description="Of a ratio.", examples=[None])
    counts: list[dict[str, str | int | float | None]] | None = Field(
        default=None,
        description="What was analyzed: the `variants` of `POST analyze/`, which answers the same analysis for them.",
        examples=[
            [
                {"key": "control", "success_count": 100, "failure_count": 900},
                {"key": "test", "success_count": 150, "failure_count": 850},
            ]
        ],
    )
    analysis: AnalysisRead | None = Field(
        description="Metrics of 2022: funnels compare the persons who converted. Trends compare what exposed persons "
        "did from their first exposure on: `total` and `sum` their mean per person, `dau` the share who did it at all, "
        "`avg` the ratio of the sum to the number of events. Persons who were shown several variants are left out of "
        "trends. Typed metrics compare what `measure` says: shares have the `metric_type` `funnel`. "
        "`docs/reference/metrics.md` has the formulas."
    )
    breakdown: BreakdownRead | None = Field(
        default=None,
        description="The metric by the values of the property that its own `breakdownFilter` names; null without one, "
        "and in snapshots.",
        examples=[None],
    )


class ScorecardRead(ResponseBody):
    model_config = ConfigDict(json_schema_extra={"examples": [SCORECARD_EXAMPLE]})

    date_range: DateRangeRead
    sample_ratio_mismatch: SampleRatioRead | None = Field(
        description="Whether the exposed persons match the flag's split; null where no person was exposed."
    )
    unit: str = Field(
        description="What the flag assigns and is compared: `persons`, or groups of a type, such as `companies`.",
        examples=["persons"],
    )
    attribution: AttributedBy = Field(  # snapshots from before there was another one do not have it
        default="events",
        description="What tells the variant of the events of funnels: `events`, by their property `$feature/<flag "
        "key>`, or `exposure`. Trends and typed metrics go by exposure.",
    )
    lost_variants: dict[str, int] = Field(
        description="Variants that the flag had while the experiment ran and has no longer, with the persons who were "
        "shown them: they are in no figure.",
        examples=[{}],
    )
    metrics: list[MetricAnalysisRead] = Field(description="The target metric first.")
    breakdown: BreakdownRead | None = Field(
        default=None, description="A metric by the values of a property; null unless `breakdown` asks for it."
    )


class TimeseriesRead(ResponseBody):
    model_config = ConfigDict(json_schema_extra={"examples": [TIMESERIES_EXAMPLE]})

    metric_id: str = Field(examples=["primary"])
    status: MetricStatus = Field(description=_STATUS)
    detail: str = Field(examples=[""])
    interval: StepInterval = Field(description="The length of the steps.", examples=["day"])
    fingerprint: str = Field(description="Changes when the metric, the window or the configuration do.")
    timeseries: dict[str, AnalysisRead] = Field(
        description="The analysis of everything up to the end of each step, by the last day of the step, with today's "
        "knowledge of persons and their variants. The last one is that of `analysis`."
    )
    computed_at: str = Field(examples=["2022-11-15T00:00:00+00:00"])


class ReasonRead(ResponseBody):
    code: str = Field(examples=["metric_improved"])
    metric_id: str | None = Field(examples=["primary"])
    detail: str = Field(examples=["test is better than the baseline in Purchases, and that is significant."])


class ProgressRead(ResponseBody):
    precision: float = Field(
        description="From 0 to 1: 1 when half the width of the interval is the target effect, which is then detected "
        "half of the time."
    )
    exposed: float = Field(description="Persons who were analyzed.")
    runtime_days: float
    estimated_days_left: int | None = Field(
        description="At the current pace; null when that cannot be estimated, when no data come, and when it is more "
        "than ten years."
    )


class DecisionRuleRead(ResponseBody):
    """The rule that decides, as `stats_config` of the experiment sets it."""

    basis: Basis = Field(
        description="`anytime_valid` unless `stats_config` switches `sequential` off: it holds however often the "
        "experiment is looked at. `p_value` and `posterior` are for one look."
    )
    confidence_level: float = Field(examples=[0.95])
    multiple_testing: Correction = Field(
        description="Unless it was set, `holm` where several variants are compared with the baseline, else `none`."
    )
    detail: str = Field(description="The same in words.")


class DecisionRead(ResponseBody):
    model_config = ConfigDict(json_schema_extra={"examples": [DECISION_EXAMPLE]})

    state: State = Field(description="What the experiment does at the moment, and whether it was decided.")
    evidence: Evidence = Field(description="What its data show.")
    recommendation: Recommendation = Field(
        description="What follows from state and evidence, by the table in `docs/reference/recommendations.md`. `ship` "
        "the variant; `rollback` to the baseline; `keep_running`; `review`: signals contradict each other, or there is "
        "no clear effect; `blocked`: the figures cannot be trusted or do not exist; `wait`: there is nothing to decide "
        "yet; `resume`: it is paused and undecided; `decided`: it was shipped or concluded."
    )
    variant_key: str | None = Field(
        description="Always the variant to serve to everyone; null while the split itself is to be served.",
        examples=["test"],
    )
    title: str = Field(description="The recommendation as a heading.", examples=["Ship it: test"])
    summary: str = Field(
        description="The result, its certainty and the recommendation in words; where the verdict of 2022 in `results` "
        "differs, also why."
    )
    rule: DecisionRuleRead
    reasons: list[ReasonRead]
    progress: ProgressRead
