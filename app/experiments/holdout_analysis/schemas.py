"""The analysis of a holdout, as clients read it."""

from pydantic import ConfigDict, Field

from app.analysis.schemas import SampleRatioRead
from app.experiments.exposures.schemas import DateRangeRead
from app.experiments.scorecard.examples import METRIC_ANALYSIS_EXAMPLE, SCORECARD_EXAMPLE
from app.experiments.scorecard.schemas import MetricAnalysisRead
from app.http.schemas import ResponseBody


class HoldoutPersonsRead(ResponseBody):
    held_out: int = Field(description="Persons whom the holdout keeps out.", examples=[100])
    others: int = Field(description="Everybody else who met a flag of the holdout.", examples=[900])
    both: int = Field(
        description="Persons who were both at different times, because their identifier changed: left out.",
        examples=[0],
    )


class HoldoutExperimentRead(ResponseBody):
    id: int = Field(examples=[1])
    name: str = Field(examples=["Checkout button"])


class HoldoutAnalysisRead(ResponseBody):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "holdout_id": 1,
                    "date_range": SCORECARD_EXAMPLE["date_range"],
                    "experiments": [{"id": 1, "name": "Checkout button"}],
                    "experiments_left_out": [],
                    "persons": {"held_out": 100, "others": 900, "both": 0},
                    "sample_ratio_mismatch": SCORECARD_EXAMPLE["sample_ratio_mismatch"],
                    "metric": METRIC_ANALYSIS_EXAMPLE,
                }
            ]
        }
    )

    holdout_id: int = Field(examples=[1])
    date_range: DateRangeRead = Field(description="From the start of the first experiment until now.")
    experiments: list[HoldoutExperimentRead] = Field(description="The experiments of the holdout that have started.")
    experiments_left_out: list[HoldoutExperimentRead] = Field(
        description="Those whose flag assigns groups: they hold out groups, not persons."
    )
    persons: HoldoutPersonsRead
    sample_ratio_mismatch: SampleRatioRead | None = Field(
        description="Whether the persons match the planned percentage; null where no person met a flag."
    )
    metric: MetricAnalysisRead
