"""The response body of the launch checklist."""

from typing import Literal

from pydantic import Field

from app.http.schemas import ResponseBody


class ChecklistItemRead(ResponseBody):
    code: str = Field(
        description="`definition`, `flag_in_code`, `exposure_event`, `reach`, `planned_size`, `guardrails`, `holdout` "
        "or `description`.",
        examples=["flag_in_code"],
    )
    title: str = Field(examples=["The flag is in the code"])
    level: Literal["critical", "recommended", "optional"] = Field(
        description="`launch/` refuses an experiment that lacks something critical with 400, and with "
        "`?checklist=required` one that lacks something recommended with 409."
    )
    state: Literal["done", "missing"]
    detail: str = Field(examples=["An SDK evaluated the flag lately."])
    action: str = Field(description="What to do about it; empty if it is done.", examples=[""])


class LaunchChecklistRead(ResponseBody):
    is_ready: bool = Field(description="Whether nothing critical is missing.")
    items: list[ChecklistItemRead]
