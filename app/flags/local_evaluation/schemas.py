"""The definitions of a project's flags."""

from typing import Annotated

from pydantic import Field, JsonValue

from app.flags.schemas import FILTERS_EXAMPLE
from app.http.schemas import ResponseBody

_COHORT_EXAMPLE = {
    "3": {"type": "AND", "values": [{"key": "country", "value": "NL", "operator": "exact", "type": "person"}]}
}


FlagPayload = Annotated[str | None, Field(description="A JSON text.", examples=['{"color": "green"}'])]


class FlagDefinition(ResponseBody):
    id: int = Field(examples=[8])
    name: str = Field(examples=["Green checkout button"])
    key: str = Field(examples=["checkout"])
    filters: dict[str, JsonValue] = Field(
        description="Conditions are in the order in which they are to be tried.", examples=[FILTERS_EXAMPLE]
    )
    deleted: bool = Field(description="Always false: deleted flags are left out.")
    active: bool = Field(description="One that is not active is sent too, and is off for everybody.", examples=[True])
    ensure_experience_continuity: bool = Field(description="Such flags are to be left to the server.")


class FlagDefinitionsRead(ResponseBody):
    flags: list[FlagDefinition]
    group_type_mapping: dict[str, str] = Field(
        description="The names of types of groups, by their index.", examples=[{"0": "company"}]
    )
    cohorts: dict[str, JsonValue] = Field(
        description="With `send_cohorts`: cohorts that properties define, by id.", examples=[_COHORT_EXAMPLE]
    )
