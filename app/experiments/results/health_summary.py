"""The summary of an experiment's health that results carry."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from app.http.schemas import ResponseBody

Severity: TypeAlias = Literal["critical", "warning", "info"]
Status: TypeAlias = Literal["healthy", "warning", "unhealthy", "waiting"]
StatusRead: TypeAlias = Annotated[
    Status,
    Field(
        description="`unhealthy`: there is a critical finding; `warning`: there is a warning; `waiting`: there are no "
        "data yet; `healthy`: neither a critical finding nor a warning."
    ),
]
FindingCode: TypeAlias = Annotated[
    str,
    Field(
        description="`SRM`, `BIAS_RISK_MULTIPLE_EXCLUDED`, `FORCED_VARIANT_RELEASE_CONDITION`, `FLAG_STATE`, "
        "`SPLIT_CHANGED`, `LOST_VARIANTS`, `MISSING_GROUP`, `NO_METRIC`, "
        "`METRIC_NO_EVENTS`, `METRIC_NOT_MATURE`, `MISSING_FLAG_PROPERTY`, `NO_CONTROL_VARIANT`, "
        "`NO_TEST_VARIANT`, `ZERO_EXPOSURES`, `EXPOSURE_UNREADABLE`, `TIMESTAMPS_UNREAD`, "
        "`NOT_COMPARABLE`, `UNDERPOWERED`, `EVENTS_REMOVED`, `METRIC_NOT_COUNTED`, "
        "`FILTER_NOT_UNDERSTOOD`, `EMPTY_WINDOW`, `UNKNOWN_SETTING`, `START_REFUSED`, `RAMP_STOPPED`, "
        "`CIRCUIT_BREAKER`, `EXPOSURE_FROZEN` or `INVALID_DEFINITION`.",
        examples=["SRM"],
    ),
]
FindingTitle: TypeAlias = Annotated[str, Field(examples=["The split is not the planned one"])]


class ShortFindingRead(ResponseBody):
    code: FindingCode
    severity: Severity
    title: FindingTitle


class HealthSummaryRead(ResponseBody):
    status: StatusRead
    findings: list[ShortFindingRead] = Field(description="The most severe first. `health` returns them in full.")
