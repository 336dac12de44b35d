"""The body of `results/`: that of 2022, and what was added to it."""

from typing import Annotated, Literal

from pydantic import Field

from app.experiments.results.explanation import ExplainedRead
from app.experiments.results.health_summary import HealthSummaryRead
from app.experiments.results.schemas import FunnelResultsRead, TrendResultsRead

_HEALTH = "What is wrong with the experiment itself, in short: see `health/`."
_KIND = "The form of the body: `funnel` or `trend`."
_EXPLAIN = "Null unless `explain=true` asks for it."


class FunnelAnswer(FunnelResultsRead):
    kind: Literal["funnel"] = Field(description=_KIND)
    health: HealthSummaryRead = Field(description=_HEALTH)
    explain: ExplainedRead | None = Field(description=_EXPLAIN)


class TrendAnswer(TrendResultsRead):
    kind: Literal["trend"] = Field(description=_KIND)
    health: HealthSummaryRead = Field(description=_HEALTH)
    explain: ExplainedRead | None = Field(description=_EXPLAIN)


ResultsAnswer = Annotated[FunnelAnswer | TrendAnswer, Field(discriminator="kind")]
