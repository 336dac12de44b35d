"""Bodies of typed metrics, with the field names of PostHog's present API."""

import hashlib
import uuid
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, JsonValue, WithJsonSchema, field_validator, model_validator

from app.common import limits
from app.http.fields import Boolean, IsList, OptionalText, StorableJson, refusal
from app.metrics.aggregation.person_values import NUMERIC, ValueMath
from app.metrics.queries.typed.breakdown_filter import BreakdownFilter
from app.metrics.queries.typed.copied import (
    OF_EXPOSURE,
    OF_METRIC,
    OF_NODE,
    OF_SOURCE,
    Copied,
    CopiedBody,
)
from app.statistics.results import Goal

Unit: TypeAlias = Literal["second", "minute", "hour", "day", "week", "month"]
Role: TypeAlias = Literal["secondary", "guardrail"]

_LONGEST_WINDOW = 100_000


def _as_list(value: object) -> object:
    return [] if value is None else value


Properties: TypeAlias = Annotated[
    list[JsonValue],
    IsList,
    BeforeValidator(_as_list),
    StorableJson,
    WithJsonSchema({"anyOf": [{"type": "array", "items": {}}, {"type": "null"}]}),
    Field(description="Conditions on the event."),
]
Percentile: TypeAlias = Annotated[float, Field(ge=0, le=1, strict=True)]
Quantile: TypeAlias = Annotated[float, Field(ge=0.001, le=0.999, strict=True)]
Length: TypeAlias = Annotated[int, Field(ge=1, le=_LONGEST_WINDOW, strict=True)]


# What of a metric does not change its counts, and the unit of its window, which may be left out.
_NAMES = {"name", "custom_name"}
_NODES = ("source", "numerator", "denominator", "start_event", "completion_event")
_OWN = (
    *("uuid", "name", "goal", "role", "non_inferiority_margin", "fingerprint", "conversion_window_unit"),
    "breakdownFilter",
)
_NOT_COUNTED: dict[str, Any] = {
    **dict.fromkeys(_OWN, True),
    **dict.fromkeys(_NODES, _NAMES),
    "series": {"__all__": _NAMES},
}


class Node(CopiedBody):
    """Events of one name (`EventsNode`), or those of an action (`ActionsNode`)."""

    copied: ClassVar[Copied] = OF_NODE

    kind: Literal["EventsNode", "ActionsNode"]
    event: OptionalText = Field(
        default=None, description="The event's name, of an `EventsNode`.", examples=["purchase"]
    )
    id: Annotated[int, Field(strict=True)] | None = Field(
        default=None, description="The action's id, of an `ActionsNode`."
    )
    name: OptionalText = None
    custom_name: OptionalText = None
    properties: Properties = Field(default=[])

    @model_validator(mode="after")
    def _require_source(self) -> Self:
        if self.kind == "EventsNode" and not self.event:
            raise refusal("An EventsNode needs the name of an event in `event`.", "required")
        if self.kind == "EventsNode" and self.id is not None:
            raise refusal("An EventsNode has no `id`: its event is named in `event`.")
        if self.kind == "ActionsNode" and self.id is None:
            raise refusal("An ActionsNode needs the id of an action in `id`.", "required")
        if self.kind == "ActionsNode" and self.event is not None:
            raise refusal("An ActionsNode has no `event`: its action is named in `id`.")
        return self


class ExposureNode(CopiedBody):
    """The exposure itself, as the start of a retention."""

    copied: ClassVar[Copied] = OF_EXPOSURE

    kind: Literal["ExperimentExposureNode", "ExperimentExposureMetricSource"] = Field(
        description="Two names of the same, of which the first is stored."
    )

    @field_validator("kind")
    @classmethod
    def _write_one_name(cls, _kind: str) -> str:
        return "ExperimentExposureNode"


class Source(Node):
    """Events, and what they make of a person: a number."""

    copied: ClassVar[Copied] = OF_SOURCE

    math: ValueMath = Field(
        default="total",
        description="A person's value. `total`: the number of events. `sum`, `avg`, `min`, `max`: of `math_property`, "
        "0 without a number. `dau`: 1 if there is any event. `unique_session`, `unique_group`: how many different ones "
        "they belong to.",
    )
    math_property: OptionalText = Field(default=None, description="A numeric property of the events.")
    math_group_type_index: Annotated[int, Field(ge=0, le=4, strict=True)] | None = None

    @model_validator(mode="after")
    def _require_parameters(self) -> Self:
        self.require_parameters()
        return self

    def require_parameters(self) -> None:
        """Refuse a source whose aggregation lacks what it needs, or has what it does not need."""
        if self.math in NUMERIC and not self.math_property:
            raise refusal(f"The math {self.math!r} needs a `math_property`.", "required")
        if self.math == "unique_group" and self.math_group_type_index is None:
            raise refusal("The math 'unique_group' needs a `math_group_type_index`.", "required")
        if self.math not in NUMERIC and self.math_property:
            raise refusal(f"The math {self.math!r} has no `math_property`.")
        if self.math != "unique_group" and self.math_group_type_index is not None:
            raise refusal(f"The math {self.math!r} has no `math_group_type_index`.")


class OutlierHandling(CopiedBody):
    """Values beyond a percentile of all persons' values become that percentile (winsorizing)."""

    lower_bound_percentile: Percentile | None = None
    upper_bound_percentile: Percentile | None = Field(default=None, examples=[0.99])
    ignore_zeros: Boolean = Field(default=False, description="Whether the upper bound is one of the values but 0.")

    @property
    def has_bounds(self) -> bool:
        return self.lower_bound_percentile is not None or self.upper_bound_percentile is not None

    @model_validator(mode="after")
    def _require_order(self) -> Self:
        lower, upper = self.lower_bound_percentile, self.upper_bound_percentile
        if lower is not None and upper is not None and lower >= upper:
            raise refusal("`lower_bound_percentile` has to be less than `upper_bound_percentile`.")
        if lower == 1 or upper == 0:
            raise refusal("All values would be cut to the largest or smallest of them: choose another percentile.")
        return self


class MetricBody(CopiedBody):
    """What all typed metrics have."""

    copied: ClassVar[Copied] = OF_METRIC

    kind: Literal["ExperimentMetric"] = "ExperimentMetric"
    uuid: Annotated[str, Field(pattern=r"^[0-9a-fA-F-]{32,36}$")] = Field(
        default_factory=lambda: str(uuid.uuid4()), description="The metric's id; made unless it is given."
    )
    name: OptionalText = Field(default=None, examples=["Revenue per person"])
    goal: Goal = Field(default="increase", description="Whether more of it is better, or less.")
    role: Role = Field(default="secondary", description="A guardrail only has to show that it is not harmed.")
    non_inferiority_margin: Annotated[float, Field(ge=0, le=10, strict=True)] | None = Field(
        default=None, description="Of a guardrail: the relative harm that is allowed."
    )
    conversion_window: Length | None = Field(
        default=None, description="Events count for this long from the exposure on; unset: to the experiment's end."
    )
    conversion_window_unit: Unit | None = Field(default=None, description="`day` unless it is given.")
    breakdownFilter: BreakdownFilter | None = Field(  # noqa: N815  # the name of the present API
        default=None, description="What `analysis` breaks the metric down by, each time."
    )
    fingerprint: JsonValue = Field(
        default=None,
        description="Ignored where it is sent. Answers have it: it is equal for metrics that count the same.",
    )

    def to_stored(self) -> dict[str, JsonValue]:
        """Return the metric as it is stored: what was sent, with its id and fingerprint."""
        sent = {**self.model_dump(exclude_unset=True, exclude={"fingerprint"}), "kind": self.kind, "uuid": self.uuid}
        return {**sent, "fingerprint": self.own_fingerprint}

    @property
    def own_fingerprint(self) -> str:
        """Equal for metrics that count the same, and by the same values of a property."""
        breakdown = None if self.breakdownFilter is None else self.breakdownFilter.breakdown
        return self.counted_digest if breakdown is None else _digest(f"{self.counted_digest} {breakdown!r}")

    @property
    def counted_digest(self) -> str:
        """Equal for metrics that count the same."""
        counted = self.model_dump_json(exclude=_NOT_COUNTED)
        return _digest(f"{counted} {self.conversion_window_unit or 'day'}")

    @model_validator(mode="after")
    def _require_window(self) -> Self:
        if self.conversion_window is None and self.conversion_window_unit is not None:
            raise refusal("`conversion_window_unit` needs a `conversion_window`.")
        return self


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _refuse_outliers_of_share(source: Source, handling: OutlierHandling | None) -> None:
    if source.math == "dau" and handling is not None and handling.has_bounds:
        raise refusal("The values of the math 'dau' are 0 and 1: they have no outliers.")


class MeanMetric(MetricBody, OutlierHandling):
    """A number per person; persons without events have 0."""

    metric_type: Literal["mean"]
    source: Source
    threshold: Annotated[float, Field(gt=0, strict=True)] | None = Field(
        default=None, description="Compare the share of persons whose value is at least this."
    )

    @model_validator(mode="after")
    def _refuse_both(self) -> Self:
        if self.threshold is not None and self.has_bounds:
            raise refusal("A metric with a `threshold` has no outliers: choose one of both.")
        _refuse_outliers_of_share(self.source, self)
        return self


class FunnelMetric(MetricBody):
    """The share of exposed persons who did all steps. The exposure is the first step."""

    metric_type: Literal["funnel"]
    series: Annotated[
        list[Node],
        IsList,
        Field(
            min_length=1,
            max_length=limits.FUNNEL_STEPS.value,
            description="The steps after the exposure, at least one.",
        ),
    ]
    funnel_order_type: Literal["ordered", "unordered"] = Field(
        default="ordered", description="`ordered`: each step is an event after that of the step before."
    )

    @model_validator(mode="after")
    def _refuse_repetition(self) -> Self:
        steps = [step.model_dump(exclude={"name", "custom_name"}) for step in self.series]
        if self.funnel_order_type == "unordered" and any(step in steps[:place] for place, step in enumerate(steps)):
            raise refusal("The steps of an unordered funnel have to differ: one event would be several steps.")
        return self


class RatioMetric(MetricBody):
    """The sum of one number per person divided by that of another one."""

    metric_type: Literal["ratio"]
    numerator: Source
    denominator: Source
    numerator_outlier_handling: OutlierHandling | None = None
    denominator_outlier_handling: OutlierHandling | None = None

    @model_validator(mode="after")
    def _refuse_outliers_of_shares(self) -> Self:
        _refuse_outliers_of_share(self.numerator, self.numerator_outlier_handling)
        _refuse_outliers_of_share(self.denominator, self.denominator_outlier_handling)
        return self


class RetentionMetric(MetricBody):
    """The share of persons who came back after they had started."""

    metric_type: Literal["retention"]
    start_event: Annotated[Node | ExposureNode, Field(discriminator="kind")] = Field(
        description="Exposed persons who did it, at or after the exposure, are compared."
    )
    completion_event: Node = Field(description="What they come back for: another event than that of the start.")
    retention_window_start: Annotated[int, Field(ge=0, le=_LONGEST_WINDOW, strict=True)] = Field(
        description="How many units after the start persons may come back: 1 is the next day."
    )
    retention_window_end: Annotated[int, Field(ge=0, le=_LONGEST_WINDOW, strict=True)] = Field(
        description="Until when, included."
    )
    retention_window_unit: Unit = Field(
        default="day",
        description="`day` and `hour` are those of the calendar, others spans of time from the start on.",
    )
    start_handling: Literal["first_seen", "last_seen"] = Field(
        default="first_seen", description="Which start counts, where there are several."
    )

    @model_validator(mode="after")
    def _require_sense(self) -> Self:
        if self.retention_window_end < self.retention_window_start:
            raise refusal("`retention_window_end` has to be at least `retention_window_start`.")
        if isinstance(self.start_event, ExposureNode):
            if self.conversion_window is not None:
                raise refusal("A retention from the exposure on has no `conversion_window`.")
            if self.start_handling == "last_seen":
                raise refusal("A retention from the exposure on starts at the first exposure, not the last one.")
        return self


class QuantileSource(Source):
    """A source whose numbers may be those of the events themselves."""

    @model_validator(mode="after")
    def _require_parameters(self) -> Self:
        return self  # they depend on the metric, which checks them


class QuantileMetric(MetricBody):
    """A quantile of a number of each person, or of a number of each event: the median, the slowest tenth."""

    metric_type: Literal["quantile"]
    quantile_level: Quantile = Field(description="Which quantile: 0.5 is the median, 0.9 what one in ten exceeds.")
    quantile_type: Literal["person", "event"] = Field(
        default="person",
        description="`person`: of one number per person, what `source.math` makes of their events. `event`: of the "
        "`math_property` of all events, such as the milliseconds of page loads.",
    )
    source: QuantileSource
    ignore_zeros: Boolean = Field(
        default=False, description="Of persons: leave out those with 0, such as those without any event."
    )

    @model_validator(mode="after")
    def _require_numbers(self) -> Self:
        if self.quantile_type == "person":
            self.source.require_parameters()
        elif not self.source.math_property:
            raise refusal("A quantile of events needs the `math_property` of its source.", "required")
        elif self.source.math != "total":
            raise refusal(f"A quantile of events has no math {self.source.math!r}: leave it out.")
        elif self.ignore_zeros:
            raise refusal("A quantile of events has no `ignore_zeros`: filter the events by their property.")
        return self


TypedMetric: TypeAlias = Annotated[
    MeanMetric | FunnelMetric | RatioMetric | RetentionMetric | QuantileMetric, Discriminator("metric_type")
]


class ExposureConfig(Node):
    """What counts as an exposure, or as an activation."""

    kind: Literal["ExperimentEventExposureConfig", "ActionsNode"] = "ExperimentEventExposureConfig"  # type: ignore[assignment]  # other words, same fields

    @model_validator(mode="after")
    def _require_source(self) -> Self:
        if self.kind == "ActionsNode":
            if self.id is None:
                raise refusal("An ActionsNode needs the id of an action in `id`.", "required")
        elif not self.event:
            raise refusal("An ExperimentEventExposureConfig needs the name of an event in `event`.", "required")
        return self


class ExposureCriteria(CopiedBody):
    """Who is exposed, and from when on."""

    filterTestAccounts: Boolean = Field(  # noqa: N815  # the name of the present API
        default=False, description="Whether events of the project's test accounts are left out everywhere."
    )
    exposure_config: ExposureConfig | None = Field(
        default=None,
        description="The event or action that is an exposure; unset: `$feature_flag_called` or "
        "`$experiment_exposure`. The variant of another event is in its property `$feature/<flag key>`.",
    )
    activation_config: ExposureConfig | None = Field(
        default=None, description="Persons count from their first such event at or after the exposure on."
    )
    multiple_variant_handling: Literal["exclude", "first_seen"] = Field(
        default="exclude",
        description="Persons who were shown several variants are left out, or belong to the first one.",
    )
