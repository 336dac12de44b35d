"""The whole answer to the question for results: the documented body, and what was added to it."""

from pydantic import Field

from app.results.explanation import ExplainedRead
from app.results.health import HealthSummaryRead
from app.results.schemas import FunnelResultsRead, TrendResultsRead

_HEALTH = "What is wrong with the experiment itself, in short: see `health/`."
_EXPLAIN = "Null unless `explain=true` asks for it."


class FunnelAnswer(FunnelResultsRead):
    health: HealthSummaryRead = Field(description=_HEALTH)
    explain: ExplainedRead | None = Field(description=_EXPLAIN)


class TrendAnswer(TrendResultsRead):
    health: HealthSummaryRead = Field(description=_HEALTH)
    explain: ExplainedRead | None = Field(description=_EXPLAIN)
