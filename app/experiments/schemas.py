"""Request and response bodies of experiments."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, JsonValue, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from app.accounts.users import UserBasic
from app.common import limits
from app.common.errors import ValidationFailed
from app.common.ids import MAX_ID
from app.experiments.automation.schemas import BREAKERS_EXAMPLE, SCHEDULE_EXAMPLE, CircuitBreakers, Schedule
from app.experiments.document_checks import check_filters, check_parameters, check_secondary, refuse_exclusions
from app.experiments.examples import (
    FUNNEL_FILTERS_EXAMPLE,
    METRICS_EXAMPLE,
    PARAMETERS_EXAMPLE,
    SECONDARY_METRICS_EXAMPLE,
)
from app.experiments.lifecycle import Action, Status
from app.experiments.lifecycle import Conclusion as ConclusionName
from app.experiments.scorecard.schemas import DecisionCriteria, ExperimentStatsConfig
from app.experiments.typed_metrics import check_before_storing, check_metrics
from app.experiments.verdicts.schemas import VerdictRead
from app.flags.filters import compile_conditions
from app.http.fields import (
    Boolean,
    Json,
    JsonObject,
    LongText,
    Omittable,
    OptionalLongText,
    OptionalText,
    OptionalUtcDatetime,
    PresentJson,
    Text,
    UtcDatetime,
    max_characters,
    parse_form_json,
    refusal,
)
from app.http.schemas import RequestBody, ResponseBody, StrictBody
from app.metrics.queries.metric_conditions import check_conditions, check_secondary_conditions
from app.metrics.queries.typed.breakdown_filter import BreakdownFilter
from app.metrics.queries.typed.conditions import check_typed_conditions
from app.metrics.queries.typed.copied import OF_SAVED_METRIC, Copied
from app.metrics.queries.typed.schemas import ExposureCriteria, TypedMetric

_PARAMETERS_SCHEMA = WithJsonSchema(
    {"anyOf": [{"type": "object", "additionalProperties": True}, {"type": "array", "maxItems": 0}, {"type": "null"}]}
)
Name = Annotated[Text, Field(examples=["Checkout button"])]
FlagKey = Annotated[LongText, Field(examples=["checkout-button"])]  # the flag has a limit of its own, with another text
Description = Annotated[OptionalText, Field(examples=["A larger button"])]
Parameters = Annotated[
    Json,
    AfterValidator(check_parameters),
    Field(
        description="Variants, and the plan that the frontend made. Stored unchanged. `attribution` says what tells "
        "the variant of the events of funnels and trends: `events` (their property `$feature/<flag key>`) or "
        "`exposure` (the exposures of their person, from the first one on); unless it is given, `default_attribution` "
        "of the project. `rollout_percentage` is the share of the participants who get a variant from the flag that "
        "is created: all of them unless it is given. It changes in the flag.",
        examples=[PARAMETERS_EXAMPLE],
    ),
    _PARAMETERS_SCHEMA,
]
NewFilters = Annotated[
    PresentJson,
    AfterValidator(check_filters),
    WithJsonSchema({"type": "object", "additionalProperties": True, "minProperties": 1}),
    Field(
        description="The target metric, in the form of 2022; required unless there are `metrics` or "
        "`saved_metrics_ids`. `properties` are the participants: the persons whom the flag is released to.",
        examples=[FUNNEL_FILTERS_EXAMPLE],
    ),
]
ChangedFilters = Annotated[JsonObject, AfterValidator(check_filters), Field(examples=[FUNNEL_FILTERS_EXAMPLE])]
SecondaryMetrics = Annotated[
    Json | None,
    AfterValidator(check_secondary),
    Field(
        description="A list of `{name, filters}`; the index in it is the metric's id. For `analysis` and `decision` "
        "a metric may also have a `role` (`secondary` or `guardrail`), a `goal` (`increase` or `decrease`) and, as a "
        "guardrail, a `non_inferiority_margin`: the relative harm that is allowed, 0.05 unless it is given.",
        examples=[SECONDARY_METRICS_EXAMPLE],
    ),
]


def _read_conclusion(value: object) -> object:
    if value is not None and value not in get_args(ConclusionName):
        shown = str(value)[:100].encode(errors="replace").decode()  # lone surrogates cannot be sent back
        raise PydanticCustomError("invalid_choice", '"{value}" is not a valid choice.', {"value": shown})
    return value


def _refuse_repeated_links(links: "list[SavedMetricLink] | None") -> "list[SavedMetricLink] | None":
    if len({link.id for link in links or ()}) < len(links or ()):
        raise refusal("A saved metric is counted once: its id is listed twice.")
    return links


TypedMetrics = Annotated[
    Annotated[list[TypedMetric], Field(max_length=limits.SECONDARY_METRICS.value)] | None,
    AfterValidator(check_metrics),
    Field(examples=[METRICS_EXAMPLE]),
]
_METRICS = (
    "Metrics of exposed persons: means, funnels, ratios and retention. They are in `analysis`, and are counted from "
    "the exposure on, as `docs/reference/metrics.md` says. The list replaces the one before. Without `filters`, the "
    "first one that is not a guardrail is the target metric."
)
_METRICS_SECONDARY = "As `metrics`; they decide nothing unless they are guardrails."


_LEADING = "Without `filters`, and a target among `metrics`, the first `primary` one is the target metric."


class SavedMetricMetadata(BreakdownFilter):
    """How the experiment counts it: `breakdowns` take the place of those of the metric's definition."""

    copied: ClassVar[Copied] = OF_SAVED_METRIC

    type: Literal["primary", "secondary"] = Field(default="secondary", description=_LEADING)


class SavedMetricLink(StrictBody):
    """A saved metric that the experiment counts."""

    id: Annotated[int, Field(ge=1, le=MAX_ID, strict=True)]
    metadata: SavedMetricMetadata = SavedMetricMetadata()


SavedMetricLinks = Annotated[
    Annotated[list[SavedMetricLink], Field(max_length=limits.SECONDARY_METRICS.value)] | None,
    AfterValidator(_refuse_repeated_links),
    Field(description="The saved metrics that the experiment counts, too.", examples=[None]),
]
_MATURED = "Whether persons count in a metric only when its conversion window is over for them."
_HOLDOUT = "The holdout whose persons the experiment's flag keeps out. It cannot change after the launch."
HoldoutReference = Annotated[
    Annotated[int, Field(ge=1, le=MAX_ID, strict=True)] | None, Field(description=_HOLDOUT, examples=[None])
]
Conclusion = Annotated[
    ConclusionName | None,
    BeforeValidator(_read_conclusion),
    Field(description="The outcome.", examples=["won"]),
]
ConclusionComment = Annotated[
    OptionalLongText,
    max_characters(3000),
    Field(
        description="A comment on the outcome.",
        examples=["The larger button sells more."],
        json_schema_extra={"maxLength": 3000},
    ),
]


_STATS = (
    "The configuration of `analysis` and of what is based on it; null: the defaults. `results` keep the rule of 2022."
)
_DECISION = "The criteria of `decision`; null: the defaults."


class ExperimentDocuments(RequestBody):
    """A body with metrics."""

    @classmethod
    async def prepare(cls, document: object) -> None:
        """Refuse conditions of metrics that are not understood."""
        if not isinstance(document, Mapping):
            return
        parameters = parse_form_json(document.get("parameters"))
        exposure = parameters.get("custom_exposure_filter") if isinstance(parameters, Mapping) else None
        filters = parse_form_json(document.get("filters"))
        await check_before_storing("filters", check_conditions(filters))
        await check_before_storing(
            "secondary_metrics", check_secondary_conditions(parse_form_json(document.get("secondary_metrics")))
        )
        await check_before_storing("parameters", check_conditions(exposure))
        for field in ("metrics", "metrics_secondary", "exposure_criteria"):
            await check_before_storing(field, check_typed_conditions(parse_form_json(document.get(field))))
        if isinstance(filters, dict):  # the participants, who are conditions of the flag
            with suppress(ValidationFailed):
                await compile_conditions({"groups": [{"properties": filters.get("properties")}]})

    @model_validator(mode="before")
    @classmethod
    def _refuse_exclusions(cls, document: object) -> object:
        if isinstance(document, Mapping):
            refuse_exclusions(document)
        return document


class ExperimentCreate(ExperimentDocuments):
    # Missing filters are refused after the errors of all fields, and where there are no other metrics.
    model_config = ConfigDict(
        json_schema_extra={
            "required": ["name", "feature_flag_key"],
            "examples": [
                {
                    "name": "Checkout button",
                    "description": "A larger button",
                    "feature_flag_key": "checkout-button",
                    "parameters": PARAMETERS_EXAMPLE,
                    "filters": FUNNEL_FILTERS_EXAMPLE,
                    "secondary_metrics": SECONDARY_METRICS_EXAMPLE,
                }
            ],
        }
    )

    name: Name
    description: Description = None
    start_date: OptionalUtcDatetime = Field(default=None, description="Unset means a draft; set launches the flag.")
    end_date: OptionalUtcDatetime = Field(default=None, description="Events after it no longer count.")
    feature_flag_key: FlagKey
    parameters: Parameters = None
    secondary_metrics: SecondaryMetrics = Field(default=[])
    filters: NewFilters = Field(default={})
    metrics: TypedMetrics = Field(default=None, description=_METRICS)
    metrics_secondary: TypedMetrics = Field(default=None, description=_METRICS_SECONDARY)
    exposure_criteria: ExposureCriteria | None = None
    saved_metrics_ids: SavedMetricLinks = None
    only_count_matured_users: Boolean = Field(default=False, description=_MATURED)
    scheduling_config: Schedule = None
    circuit_breakers: CircuitBreakers = None
    holdout_id: HoldoutReference = None
    allow_existing_flag: Boolean = Field(
        default=False,
        description="Whether a flag that has the key already is used as it is: one with 2 to 20 variants, in no other "
        "experiment that has not ended. Neither creating nor deleting the experiment changes it.",
    )
    archived: Boolean = False
    conclusion: Conclusion = None
    conclusion_comment: ConclusionComment = None
    stats_config: ExperimentStatsConfig | None = Field(default=None, description=_STATS)
    decision_criteria: DecisionCriteria | None = Field(default=None, description=_DECISION)


class ExperimentUpdate(ExperimentDocuments):
    """A partial update: only fields that were sent are applied."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"start_date": "2022-11-01T00:00:00Z"}]})

    name: Omittable[Name] = None
    description: Description = None
    start_date: OptionalUtcDatetime = Field(default=None, description="The first one of a draft launches the flag.")
    end_date: OptionalUtcDatetime = None
    feature_flag_key: Omittable[FlagKey] = Field(default=None, description="Cannot change.")
    parameters: Parameters = None
    secondary_metrics: SecondaryMetrics = None
    filters: Omittable[ChangedFilters] = None
    metrics: TypedMetrics = Field(default=None, description=_METRICS)
    metrics_secondary: TypedMetrics = Field(default=None, description=_METRICS_SECONDARY)
    exposure_criteria: ExposureCriteria | None = None
    saved_metrics_ids: SavedMetricLinks = None
    only_count_matured_users: Omittable[Boolean] = Field(default=None, description=_MATURED)
    scheduling_config: Schedule = None
    circuit_breakers: CircuitBreakers = None
    holdout_id: HoldoutReference = None
    archived: Omittable[Boolean] = None
    conclusion: Conclusion = None
    conclusion_comment: ConclusionComment = None
    stats_config: ExperimentStatsConfig | None = Field(default=None, description=_STATS)
    decision_criteria: DecisionCriteria | None = Field(default=None, description=_DECISION)


class ExperimentReplace(ExperimentUpdate):
    """A full update: name and key are required; other fields that were not sent keep their values."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "Checkout button",
                    "feature_flag_key": "checkout-button",
                    "end_date": "2022-11-15T00:00:00Z",
                    "archived": True,
                }
            ]
        }
    )

    name: Name
    feature_flag_key: FlagKey = Field(description="Cannot change.")


class ExperimentEnd(StrictBody):
    """The outcome of an experiment: every field may be left out."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"conclusion": "won", "conclusion_comment": "The larger button sells more."}]}
    )

    conclusion: Conclusion = None
    conclusion_comment: ConclusionComment = None


class ExperimentShip(ExperimentEnd):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "variant_key": "test",
                    "conclusion": "won",
                    "conclusion_comment": "The larger button sells more.",
                }
            ]
        }
    )

    variant_key: LongText = Field(description="The variant that everyone gets from now on.", examples=["test"])


class ExperimentDuplicate(StrictBody):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "Checkout button, again", "feature_flag_key": "checkout-button-2"}]}
    )

    name: Omittable[Name] = Field(default=None, description="If left out, the original name with `(Copy)`.")
    feature_flag_key: Omittable[FlagKey] = Field(
        default=None, description="If left out, the original key with `-copy`, and a number where that is taken."
    )


class ExperimentRead(ResponseBody):
    id: int = Field(examples=[1])
    name: str = Field(examples=["Checkout button"])
    description: str | None = Field(examples=["A larger button"])
    start_date: UtcDatetime | None = Field(description="Events count from this time on; null: a draft.")
    end_date: UtcDatetime | None = Field(
        description="Events count until this time, which may lie ahead; null: no end.", examples=[None]
    )
    feature_flag_key: str = Field(examples=["checkout-button"])
    feature_flag: int = Field(description="The flag's id.", examples=[7])
    parameters: Annotated[JsonValue, _PARAMETERS_SCHEMA] = Field(examples=[PARAMETERS_EXAMPLE])
    secondary_metrics: JsonValue = Field(examples=[SECONDARY_METRICS_EXAMPLE])
    filters: dict[str, JsonValue] = Field(examples=[FUNNEL_FILTERS_EXAMPLE])
    archived: bool = Field(description="Whether lists with `archived=false` leave it out.")
    created_by: UserBasic | None
    created_at: UtcDatetime
    updated_at: UtcDatetime
    status: Status = Field(
        description="`draft`: it has no start. `scheduled`: the start lies ahead. `running`: started, and its flag is "
        "on. `paused`: started, and its flag is off, deleted, or held at the baseline. `exposure_frozen`: it runs for "
        "the persons who were exposed, and for no others. `stopped`: its end has passed.",
        examples=["running"],
    )
    conclusion: Conclusion = Field(examples=[None])
    conclusion_comment: str | None = Field(description="A comment on the outcome.", examples=[None])
    stats_config: dict[str, JsonValue] | None = Field(description=_STATS, examples=[{"confidence_level": 0.99}])
    decision_criteria: dict[str, JsonValue] | None = Field(description=_DECISION, examples=[{"target_mde": 0.05}])
    metrics: list[JsonValue] | None = Field(description=_METRICS, examples=[METRICS_EXAMPLE])
    metrics_secondary: list[JsonValue] | None = Field(description=_METRICS_SECONDARY, examples=[None])
    exposure_criteria: dict[str, JsonValue] | None = Field(
        description="Who is exposed, and from when on; null: the defaults.",
        examples=[{"multiple_variant_handling": "first_seen"}],
    )
    saved_metrics_ids: list[JsonValue] | None = Field(
        description="The saved metrics that the experiment counts, too.", examples=[None]
    )
    only_count_matured_users: bool = Field(description=_MATURED, examples=[False])
    scheduling_config: dict[str, JsonValue] | None = Field(
        description="When it starts and ends by itself, and how its rollout grows.", examples=[SCHEDULE_EXAMPLE]
    )
    circuit_breakers: list[JsonValue] | None = Field(
        description="What happens by itself when a metric is harmed.", examples=[BREAKERS_EXAMPLE]
    )
    automatic_actions: list[JsonValue] | None = Field(
        description="What happened by itself since the schedule was set, and what could not; at most 100.",
        examples=[[{"kind": "ramped", "at": "2199-01-01T09:00:00Z", "after_hours": 0, "rollout_percentage": 5}]],
    )
    exposure_freeze: dict[str, JsonValue] | None = Field(
        description="The cohort of exposed persons that every release condition asks for, and the `filters` of the "
        "flag as they were before; null: not frozen.",
        examples=[None],
    )
    baseline_hold: dict[str, JsonValue] | None = Field(
        description="The baseline that a circuit breaker gives everyone, and the `filters` of the flag as they were "
        "before; null: the split is served.",
        examples=[None],
    )
    holdout_id: int | None = Field(description="The holdout whose persons are kept out.", examples=[None])
    uses_existing_flag: bool = Field(
        description="Whether the flag existed before: deleting the experiment leaves it alone.", examples=[False]
    )
    variants: list[JsonValue] = Field(
        description="Those that the flag has now.", examples=[PARAMETERS_EXAMPLE["feature_flag_variants"]]
    )
    allowed_actions: list[Action] = Field(
        description="What the status allows; `launch/` may still refuse what cannot be counted.",
        examples=[["pause", "end", "ship_variant", "reset", "freeze_exposure"]],
    )
    verdict: VerdictRead | None = Field(
        description="What the data said last, from `decision/`: the background forms it within minutes, and forgets it "
        "when the experiment changes, but not when it is archived. Changes of shared metrics are followed within "
        "minutes; late events and changes of the flag or the project within minutes while it runs, within an hour "
        "until 7 days after its end, and by `decision/` alone from then on. Null until there is one, and where the "
        "data cannot be counted."
    )
