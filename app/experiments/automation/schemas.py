"""Bodies of what an experiment plans to happen by itself: its schedule, and its circuit breakers."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, GetJsonSchemaHandler, JsonValue, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from app.http.fields import IsList, LongText, OptionalUtcDatetime, refusal
from app.http.schemas import StrictBody

BreakerAction: TypeAlias = Literal["pause", "control_only", "notify"]

MOST_STEPS: Final = 20
MOST_BREAKERS: Final = 10
_LONGEST_RAMP_HOURS: Final = 24 * 366
_DEFAULT: Final = "default"
_DEFAULT_PERCENTAGES: Final = (1, 5, 10, 25, 50, 100)
_DEFAULT_HOURS: Final = 24  # between steps

SCHEDULE_EXAMPLE: Final[dict[str, JsonValue]] = {
    "start_at": "2199-01-01T09:00:00Z",
    "end_at": "2199-01-15T09:00:00Z",
    "ramp": [{"after_hours": 0, "rollout_percentage": 5}, {"after_hours": 24, "rollout_percentage": 100}],
}
BREAKERS_EXAMPLE: Final[list[JsonValue]] = [
    {
        "metric_uuid": "primary",
        "direction": "decrease",
        "threshold_relative": 0.1,
        "min_exposures": 1000,
        "action": "pause",
    }
]


class RampStep(StrictBody):
    """A share of persons that the flag is released to, from some hours after the start on."""

    after_hours: Annotated[float, Field(ge=0, le=_LONGEST_RAMP_HOURS, strict=True)]
    rollout_percentage: Annotated[float, Field(gt=0, le=100, strict=True)]


class _WithDefault:
    """Adds the name of the default steps to the OpenAPI schema."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        described = handler(schema)
        return {**described, "anyOf": [*described["anyOf"], {"const": _DEFAULT}]}


def default_ramp() -> list[dict[str, float]]:
    """Return the steps of a ramp that are usual: a day each."""
    return [
        {"after_hours": _DEFAULT_HOURS * place, "rollout_percentage": percentage}
        for place, percentage in enumerate(_DEFAULT_PERCENTAGES)
    ]


def _read_ramp(value: object) -> object:
    """Return the default steps in place of their name."""
    return default_ramp() if value == _DEFAULT else value


def _check_ramp(steps: Sequence[RampStep] | None) -> Sequence[RampStep] | None:
    if steps is not None and not steps:
        raise refusal("A ramp has at least one step.")
    if steps and steps[0].after_hours != 0:
        raise refusal("The first step of a ramp has after_hours 0: it is the rollout at the start.")
    for earlier, later in pairwise(steps or ()):
        if later.after_hours <= earlier.after_hours or later.rollout_percentage <= earlier.rollout_percentage:
            raise refusal("Every step of a ramp is later than the one before, and has a larger rollout_percentage.")
    return steps


Ramp: TypeAlias = Annotated[
    Annotated[list[RampStep], IsList, Field(max_length=MOST_STEPS)] | None,
    BeforeValidator(_read_ramp),
    AfterValidator(_check_ramp),
    _WithDefault(),
    Field(
        description="How the rollout grows after the start; the first step is at the start itself. `default` stands "
        "for 1, 5, 10, 25, 50 and 100 percent, a day each. The split between variants never changes.",
    ),
]


class SchedulingConfig(StrictBody):
    """When an experiment starts and ends by itself, and how its rollout grows."""

    start_at: OptionalUtcDatetime = Field(default=None, description="A draft is launched then.")
    end_at: OptionalUtcDatetime = Field(default=None, description="It is ended then, with a snapshot.")
    ramp: Ramp = None

    @model_validator(mode="after")
    def _require_order(self) -> Self:
        if self.start_at is not None and self.end_at is not None and self.end_at <= self.start_at:
            raise refusal("`end_at` has to be later than `start_at`.")
        return self


class CircuitBreaker(StrictBody):
    """What happens by itself when a metric is harmed."""

    metric_uuid: LongText = Field(
        description="The `uuid` of a typed metric, or the `metric_id` of any metric in `analysis`, such as `primary`."
    )
    direction: Literal["increase", "decrease"] = Field(description="The direction that is harm.")
    threshold_relative: Annotated[float, Field(ge=0, le=10, strict=True)] = Field(
        description="The relative change that is tolerated, 0.1 for 10 %. The whole anytime-valid interval has to lie "
        "beyond it."
    )
    min_exposures: Annotated[int, Field(ge=1, le=1_000_000_000, strict=True)] = Field(
        default=100, description="Persons that the variant and the baseline need each."
    )
    action: BreakerAction = Field(
        description="`pause` switches the flag off, `control_only` gives everyone the baseline until `resume/`, "
        "`notify` only reports it."
    )


def _refuse_repeated(breakers: Sequence[CircuitBreaker] | None) -> Sequence[CircuitBreaker] | None:
    listed = list(breakers or ())
    if any(one in listed[:place] for place, one in enumerate(listed)):
        raise refusal("A circuit breaker is listed twice.")
    return breakers


CircuitBreakers: TypeAlias = Annotated[
    Annotated[list[CircuitBreaker], IsList, Field(max_length=MOST_BREAKERS)] | None,
    AfterValidator(_refuse_repeated),
    Field(
        description="What happens by itself when a metric is harmed. Each acts once; a changed one is armed again.",
        examples=[BREAKERS_EXAMPLE],
    ),
]
Schedule: TypeAlias = Annotated[
    SchedulingConfig | None,
    Field(
        description="When it starts and ends by itself, and how its rollout grows. Times must lie ahead when they are "
        "set.",
        examples=[SCHEDULE_EXAMPLE],
    ),
]


def stored_schedule(schedule: SchedulingConfig | None) -> dict[str, JsonValue] | None:
    """Return a schedule as it is stored: what was sent, times as texts, and the steps of a named ramp."""
    return None if schedule is None else schedule.model_dump(mode="json", exclude_unset=True)


def read_schedule(stored: Mapping[str, object] | None) -> SchedulingConfig:
    """Return a stored schedule; an empty one where there is none."""
    return SchedulingConfig.model_validate(stored or {})


def read_breakers(stored: Sequence[object] | None) -> list[CircuitBreaker]:
    """Return stored circuit breakers."""
    return [CircuitBreaker.model_validate(one) for one in stored or ()]
