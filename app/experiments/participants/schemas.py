"""The bodies of participants."""

from pydantic import Field

from app.http.fields import UtcDatetime
from app.http.schemas import ResponseBody


class ParticipantRead(ResponseBody):
    person_id: int | None = Field(description="Null for an erased person.", examples=[1])
    distinct_ids: list[str] = Field(examples=[["ann", "device-7"]])
    variant: str = Field(description="The variant; `$multiple` if the person was shown several.", examples=["test"])
    first_exposure: UtcDatetime
    variants_seen: list[str] = Field(examples=[["test"]])


class ParticipantPage(ResponseBody):
    """One page of participants."""

    next: str | None = Field(examples=[None])
    results: list[ParticipantRead]


class ParticipationRead(ResponseBody):
    experiment_id: int = Field(examples=[1])
    name: str = Field(examples=["Checkout button"])
    feature_flag_key: str = Field(examples=["checkout"])
    variant: str = Field(description="The variant; `$multiple` if the person was shown several.", examples=["test"])
    first_exposure: UtcDatetime
    variants_seen: list[str] = Field(examples=[["test"]])


class ParticipationList(ResponseBody):
    results: list[ParticipationRead]
