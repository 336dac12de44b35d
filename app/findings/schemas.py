"""Findings as clients read them."""

from pydantic import ConfigDict, Field, JsonValue

from app.findings.rules import Severity, Status
from app.schemas import ResponseBody

_STATUS = (
    "`unhealthy`: there is a critical finding; `warning`: something to look at; `waiting`: nothing has arrived yet; "
    "`healthy`: nothing was found."
)
_CODES = (
    "`SRM`, `BIAS_RISK_MULTIPLE_EXCLUDED`, `FORCED_VARIANT_RELEASE_CONDITION`, `FLAG_STATE`, `SPLIT_CHANGED`, "
    "`NO_METRIC`, `METRIC_NO_EVENTS`, `MISSING_FLAG_PROPERTY`, `NO_CONTROL_VARIANT`, `NO_TEST_VARIANT`, "
    "`ZERO_EXPOSURES`, `EXPOSURE_UNREADABLE`, `UNDERPOWERED` or `EVENTS_REMOVED`."
)

HEALTH_EXAMPLE: dict[str, JsonValue] = {
    "status": "warning",
    "checked_at": "2022-11-15T00:00:00Z",
    "findings": [
        {
            "code": "FLAG_STATE",
            "subcode": "inactive",
            "severity": "warning",
            "title": "The flag is off",
            "detail": "The experiment runs, but its flag is off: nobody new is assigned to a variant.",
            "evidence": {"active": False, "deleted": False},
            "actions": ["Switch the flag on (or resume the experiment), or end the experiment."],
        }
    ],
}


class ShortFindingRead(ResponseBody):
    code: str = Field(description=_CODES, examples=["SRM"])
    severity: Severity
    title: str = Field(examples=["The split is not the planned one"])


class HealthSummaryRead(ResponseBody):
    status: Status = Field(description=_STATUS)
    findings: list[ShortFindingRead] = Field(description="The most severe first. `health` has them in full.")


class FindingRead(ResponseBody):
    code: str = Field(description=_CODES, examples=["SRM"])
    subcode: str | None
    severity: Severity
    title: str = Field(examples=["The split is not the planned one"])
    detail: str = Field(description="What was found, with its figures.")
    evidence: dict[str, JsonValue] = Field(description="The figures themselves.")
    actions: list[str] = Field(description="What to do about it.")


class HealthRead(ResponseBody):
    model_config = ConfigDict(json_schema_extra={"examples": [HEALTH_EXAMPLE]})

    status: Status = Field(description=_STATUS)
    checked_at: str = Field(examples=["2022-11-15T00:00:00Z"])
    findings: list[FindingRead] = Field(description="The most severe first.")
