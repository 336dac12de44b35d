"""Why results are what they are: which link of the chain is missing, and with what counts. Pure."""

from collections.abc import Mapping

from pydantic import Field, JsonValue

from app.experiments.exposures.schemas import DateRangeRead
from app.experiments.results.target import CountedTarget
from app.flags.filters import CONTROL
from app.http.schemas import ResponseBody


class ExplainedChecksRead(ResponseBody):
    """Each is true where something is missing."""

    no_events: bool = Field(description="Nothing inside the window fits the metric.")
    no_flag_info: bool = Field(description="Something does, but none of it names a variant.")
    no_control_variant: bool = Field(description="Nothing names `control`.")
    no_test_variant: bool = Field(description="Nothing names another variant of the flag.")


class ExplainedCountsRead(ResponseBody):
    unit: str = Field(description="`persons` that entered the funnel, or `events` of the trend.", examples=["persons"])
    variants: dict[str, int] = Field(
        description="By the variant that they name.", examples=[{"control": 9, "test": 11}]
    )
    without_variant: int = Field(description="Those that name none.", examples=[2])
    unknown_variant: int = Field(description="Those that name one that the flag does not have.", examples=[0])


class ExplainedRead(ResponseBody):
    checks: ExplainedChecksRead
    counts: ExplainedCountsRead
    window: DateRangeRead
    variant_property: str = Field(
        description="The event property that names the variant.", examples=["$feature/checkout-button"]
    )
    query: dict[str, JsonValue] = Field(description="The metric as it took effect.")


def explain(target: CountedTarget) -> ExplainedRead:
    """Explain what a counted metric found."""
    found, scope = target.evidence, target.scope
    named: Mapping[str, int] = found.of_variants
    return ExplainedRead(
        checks=ExplainedChecksRead(
            no_events=found.total == 0,
            no_flag_info=found.total > 0 and not sum(named.values()) and not found.other_variant,
            no_control_variant=not named.get(CONTROL),
            no_test_variant=not sum(count for key, count in named.items() if key != CONTROL),
        ),
        counts=ExplainedCountsRead(
            unit=found.unit,
            variants=dict(named),
            without_variant=found.without_variant,
            unknown_variant=found.other_variant,
        ),
        window=DateRangeRead.of(scope.start, scope.last, scope.timezone),
        variant_property=scope.variant_property,
        query=target.applied_filters,
    )
