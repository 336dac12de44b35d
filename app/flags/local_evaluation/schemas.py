"""The bodies of local evaluation."""

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
        description="Conditions are in the order in which they must be tried.", examples=[FILTERS_EXAMPLE]
    )
    deleted: bool = Field(description="Always false: deleted flags are left out.")
    active: bool = Field(description="Inactive flags are included, and are off for everyone.", examples=[True])
    ensure_experience_continuity: bool = Field(
        description="Whether the flag must be evaluated by the server: also where the client's evaluator could differ."
    )


class SimpleFlag(ResponseBody):
    """A flag as SDKs of early 2022 read it: they evaluate simple ones themselves, and ask for the others."""

    id: int
    name: str
    key: str
    filters: dict[str, JsonValue]
    deleted: bool
    active: bool
    is_simple_flag: bool
    rollout_percentage: int | float | None
    node_rollout_percentage: int | float | None = Field(serialization_alias="rolloutPercentage")


class FlagDefinitionsRead(ResponseBody):
    flags: list[FlagDefinition]
    group_type_mapping: dict[str, str] = Field(
        description="The names of group types, by index.", examples=[{"0": "company"}]
    )
    cohorts: dict[str, JsonValue] = Field(
        description="With `send_cohorts`: the definitions of dynamic cohorts, by id.", examples=[_COHORT_EXAMPLE]
    )
    property_matching_version: int = Field(
        description="Always 2: conditions compare `true` and `false` as texts, without case.", examples=[2]
    )
