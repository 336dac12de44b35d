"""Breakdowns of metrics, as clients read them."""

from pydantic import ConfigDict, Field

from app.analysis.schemas import AnalysisRead, SampleRatioRead
from app.experiments.scorecard.examples import BREAKDOWN_EXAMPLE
from app.http.schemas import ResponseBody
from app.metrics.queries.breakdown import BreakdownType, BrokenDownBy
from app.statistics.frequentist.multiplicity import Correction


class BreakdownValueRead(ResponseBody):
    value: str | None = Field(
        description="The value of the property, as a text; null: there is none. Of `other` it is always null.",
        examples=["mobile"],
    )
    exposed: dict[str, int] = Field(
        description="The exposed persons of each variant: those with the value, or, by `metric`, all of them.",
        examples=[{"control": 480, "test": 520}],
    )
    sample_ratio_mismatch: SampleRatioRead | None = Field(
        description="Whether they match the flag's split: a mismatch is corrected for the number of values. Null by "
        "`metric`, where the split is that of the experiment, and where no split is planned."
    )
    detail: str = Field(description="Why there is no analysis; else empty.", examples=[""])
    analysis: AnalysisRead | None = Field(
        description="The analysis of the metric for this value. `adjusted_p_value` and `significant` are corrected for "
        "all values and variants together; intervals are not."
    )


class BreakdownRead(ResponseBody):
    """A metric by the values of a property."""

    model_config = ConfigDict(json_schema_extra={"examples": [BREAKDOWN_EXAMPLE]})

    metric_id: str = Field(examples=["primary"])
    property: str = Field(examples=["device"])
    type: BreakdownType = Field(description="Whether it is a property of events or of persons.")
    by: BrokenDownBy = Field(
        description="`exposure`: each person is counted for one value, that of their first exposure. `metric`: the "
        "metric's events are counted by their value, relative to all exposed persons."
    )
    values: list[BreakdownValueRead] = Field(description="The most frequent values, the most frequent first.")
    other: BreakdownValueRead | None = Field(description="All other values together; null where there are none.")
    truncated: bool = Field(description="Whether there are more values than `limit`.")
    multiple_testing: Correction = Field(description="The correction over all values and variants.", examples=["holm"])
    detail: str = Field(
        description="Why there are no values, of a breakdown that the metric's definition asks for; else empty.",
        examples=[""],
    )
    notes: list[str] = Field(description="How to read it.")
