"""The response body of health."""

from pydantic import ConfigDict, Field, JsonValue

from app.experiments.results.health_summary import FindingCode, FindingTitle, Severity, StatusRead
from app.http.schemas import ResponseBody

HEALTH_EXAMPLE: dict[str, JsonValue] = {
    "status": "warning",
    "checked_at": "2022-11-15T00:00:00Z",
    "findings": [
        {
            "code": "FLAG_STATE",
            "subcode": "inactive",
            "severity": "warning",
            "title": "The flag is off",
            "detail": "The experiment runs, but its flag is off: no new person is assigned to a variant.",
            "evidence": {"active": False, "deleted": False},
            "actions": ["Switch the flag on (or resume the experiment), or end the experiment."],
        }
    ],
}


class FindingRead(ResponseBody):
    code: FindingCode
    subcode: str | None
    severity: Severity
    title: FindingTitle
    detail: str = Field(description="What is wrong, with its figures.")
    evidence: dict[str, JsonValue] = Field(description="The figures themselves.")
    actions: list[str] = Field(description="What to do about it.")


class HealthRead(ResponseBody):
    model_config = ConfigDict(json_schema_extra={"examples": [HEALTH_EXAMPLE]})

    status: StatusRead
    checked_at: str = Field(examples=["2022-11-15T00:00:00Z"])
    findings: list[FindingRead] = Field(description="The most severe first.")
