"""Bodies of snapshots."""

from typing import Literal, TypeAlias

from pydantic import Field, JsonValue

from app.accounts.users import UserBasic
from app.experiments.examples import (
    FUNNEL_FILTERS_EXAMPLE,
    METRICS_EXAMPLE,
    PARAMETERS_EXAMPLE,
    SECONDARY_METRICS_EXAMPLE,
)
from app.experiments.results.health_summary import HealthSummaryRead
from app.experiments.results.schemas import FunnelResultsRead, TrendResultsRead
from app.experiments.scorecard.schemas import ScorecardRead
from app.flags.schemas import FILTERS_EXAMPLE
from app.http.fields import UtcDatetime
from app.http.schemas import ErrorBody, ResponseBody

Trigger: TypeAlias = Literal["end", "ship_variant", "update", "manual"]


class SnapshotExperiment(ResponseBody):
    """The experiment that was counted."""

    id: int = Field(examples=[1])
    name: str = Field(examples=["Checkout button"])
    description: str | None = Field(examples=["A larger button"])
    start_date: UtcDatetime | None
    end_date: UtcDatetime | None
    parameters: JsonValue = Field(examples=[PARAMETERS_EXAMPLE])
    filters: JsonValue = Field(examples=[FUNNEL_FILTERS_EXAMPLE])
    secondary_metrics: JsonValue = Field(examples=[SECONDARY_METRICS_EXAMPLE])
    # Snapshots from before there were typed metrics do not have these.
    metrics: JsonValue = Field(default=None, examples=[METRICS_EXAMPLE])
    metrics_secondary: JsonValue = Field(default=None, examples=[None])
    exposure_criteria: JsonValue = Field(default=None, examples=[None])
    saved_metrics_ids: JsonValue = Field(default=None, examples=[None])
    only_count_matured_users: bool = False
    holdout_id: int | None = None
    stats_config: JsonValue = Field(examples=[None])
    decision_criteria: JsonValue = Field(examples=[None])
    conclusion: str | None = Field(examples=["won"])
    conclusion_comment: str | None = Field(examples=["The larger button sells more."])


class SnapshotFlag(ResponseBody):
    """The flag that split its participants."""

    id: int = Field(examples=[7])
    key: str = Field(examples=["checkout-button"])
    filters: dict[str, JsonValue] = Field(examples=[FILTERS_EXAMPLE])
    active: bool = Field(examples=[True])
    deleted: bool
    ensure_experience_continuity: bool


class Definition(ResponseBody):
    """Everything that determines the results, except the events."""

    experiment: SnapshotExperiment
    feature_flag: SnapshotFlag


class SnapshotWindow(ResponseBody):
    date_from: UtcDatetime
    date_to: UtcDatetime = Field(
        description="The end, or when the snapshot was taken if that was earlier.", examples=["2022-11-15T00:00:00Z"]
    )
    timezone: str = Field(description="The project's time zone, which bounds the days.", examples=["Europe/Amsterdam"])


class SecondaryResults(ResponseBody):
    result: dict[str, float] | None = Field(
        description="As `secondary_results` returned it.", examples=[{"control": 100.0, "test": 150.0}]
    )
    error: ErrorBody | None = Field(description="Why it is missing.", examples=[None])


class SnapshotContent(Definition):
    """The stored part of a snapshot. A new kind of result is a field here and a line in ``SnapshotTaker.take``."""

    window: SnapshotWindow
    engine_version: str = Field(description="The version of Abacus that counted.", examples=["0.1.0"])
    results: FunnelResultsRead | TrendResultsRead | None = Field(description="As `results` returned them.")
    results_error: ErrorBody | None = Field(description="Why they are missing.", examples=[None])
    secondary_results: list[SecondaryResults] = Field(description="One for each of `secondary_metrics`.")
    analysis: ScorecardRead | None = Field(description="As `analysis` returned it.")
    analysis_error: ErrorBody | None = Field(description="Why it is missing.", examples=[None])
    health: HealthSummaryRead = Field(description="The health of the experiment, as `results` return it.")


class SnapshotRead(SnapshotContent):
    """The results of an experiment at one moment. A snapshot never changes."""

    id: int = Field(examples=[1])
    trigger: Trigger = Field(
        description="Why it was taken: `end` and `ship_variant` by these actions, `update` by a change that set or "
        "moved the end, `manual` on request.",
        examples=["end"],
    )
    created_at: UtcDatetime
    created_by: UserBasic | None
