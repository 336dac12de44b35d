"""Explains results: the counts per variant, and which prerequisite is missing."""

from collections.abc import Mapping

from pydantic import Field, JsonValue

from app.experiments.exposures.schemas import DateRangeRead
from app.experiments.results.target import CountedTarget
from app.flags.filters import CONTROL
from app.http.schemas import ResponseBody
from app.metrics.queries.scope import AttributedBy


class ExplainedChecksRead(ResponseBody):
    """Each check is true where something is missing."""

    no_events: bool = Field(description="Nothing inside the window matches the metric.")
    no_flag_info: bool = Field(description="Something matches, but not one event names a variant.")
    no_control_variant: bool = Field(description="Nothing was counted for `control`.")
    no_test_variant: bool = Field(description="Nothing was counted for another variant of the flag.")


class ExplainedCountsRead(ResponseBody):
    unit: str = Field(
        description="`persons` that entered the funnel (groups by the name of their type, such as `companies`), or "
        "`events` of the trend.",
        examples=["persons"],
    )
    variants: dict[str, int] = Field(
        description="Counts by the variant that the events name, or that their persons were exposed to.",
        examples=[{"control": 9, "test": 11}],
    )
    without_variant: int = Field(
        description="The count without a variant; by exposure, that of persons who were not exposed.", examples=[2]
    )
    unknown_variant: int = Field(
        description="The count of variants that the flag does not have; by exposure, that of persons with several.",
        examples=[0],
    )


class ExplainedRead(ResponseBody):
    checks: ExplainedChecksRead
    counts: ExplainedCountsRead
    window: DateRangeRead
    attribution: AttributedBy = Field(
        description="What tells the variant of events: `events`, by `variant_property`, or `exposure`."
    )
    variant_property: str = Field(
        description="The event property that names the variant.", examples=["$feature/checkout-button"]
    )
    query: dict[str, JsonValue] = Field(description="The effective filters of the metric.")


def explain(target: CountedTarget) -> ExplainedRead:
    """Explain the counts of a target metric."""
    evidence, scope = target.evidence, target.scope
    named: Mapping[str, int] = evidence.of_variants
    return ExplainedRead(
        checks=ExplainedChecksRead(
            no_events=evidence.total == 0,
            no_flag_info=evidence.total > 0 and not sum(named.values()) and not evidence.other_variant,
            no_control_variant=not named.get(CONTROL),
            no_test_variant=not sum(count for key, count in named.items() if key != CONTROL),
        ),
        counts=ExplainedCountsRead(
            unit=evidence.unit,
            variants=dict(named),
            without_variant=evidence.without_variant,
            unknown_variant=evidence.other_variant,
        ),
        window=DateRangeRead.of(scope.start, scope.last, scope.timezone),
        attribution=scope.attributed_by,
        variant_property=scope.variant_property,
        query=target.applied_filters,
    )
