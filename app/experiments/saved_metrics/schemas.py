"""Bodies of saved metrics."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import ConfigDict, Field, JsonValue

from app.accounts.users import UserBasic
from app.experiments.examples import METRIC_EXAMPLE
from app.experiments.typed_metrics import check_before_storing
from app.http.fields import Omittable, OptionalLongText, Text, UtcDatetime
from app.http.schemas import ResponseBody, StrictBody
from app.metrics.queries.typed.conditions import check_typed_conditions
from app.metrics.queries.typed.schemas import TypedMetric

_TAGS = 20

Query = Annotated[TypedMetric, Field(examples=[METRIC_EXAMPLE])]
Tags = Annotated[list[Text], Field(max_length=_TAGS, examples=[["revenue"]])]


class _QueryBody(StrictBody):
    """A body with a typed metric."""

    @classmethod
    async def prepare(cls, document: object) -> None:
        """Refuse conditions that are not understood."""
        if isinstance(document, Mapping):
            await check_before_storing("query", check_typed_conditions(document.get("query")))


class SavedMetricCreate(_QueryBody):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "Revenue per person", "query": METRIC_EXAMPLE, "tags": ["revenue"]}]}
    )

    name: Text = Field(examples=["Revenue per person"])
    description: OptionalLongText = None
    query: Query = Field(description="The metric, as in an experiment's `metrics`.")
    tags: Tags = Field(default=[])


class SavedMetricUpdate(_QueryBody):
    """A partial update: only fields that were sent are applied."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Revenue"}]})

    name: Omittable[Text] = None
    description: OptionalLongText = None
    query: Omittable[Query] = Field(default=None, description="The metric, as in an experiment's `metrics`.")
    tags: Omittable[Tags] = None


class SavedMetricRead(ResponseBody):
    id: int = Field(examples=[1])
    name: str = Field(examples=["Revenue per person"])
    description: str | None = Field(examples=[None])
    query: dict[str, JsonValue] = Field(examples=[METRIC_EXAMPLE])
    tags: list[str] = Field(examples=[["revenue"]])
    created_by: UserBasic | None
    created_at: UtcDatetime
    updated_at: UtcDatetime
