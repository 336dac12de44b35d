"""The last verdict on an experiment, as its representation shows it."""

from pydantic import Field

from app.experiments.scorecard.decision_table import Recommendation, State
from app.experiments.scorecard.schemas import DecisionRead
from app.http.fields import UtcDatetime
from app.http.schemas import ResponseBody


class VerdictRead(ResponseBody):
    """A part of `decision/`, as of ``decided_at``."""

    state: State
    recommendation: Recommendation = Field(examples=["ship"])
    variant_key: str | None = Field(description="The variant to serve to everyone.", examples=["test"])
    title: str = Field(description="The recommendation as a heading.", examples=["Ship it: test"])
    summary: str = Field(
        description="The result, its certainty and the recommendation in words.",
        examples=["Checkout is higher with `test`: 30 % against 10 %."],
    )
    decided_at: UtcDatetime

    @classmethod
    def of(cls, decision: DecisionRead, decided_at: UtcDatetime) -> "VerdictRead":
        return cls(
            state=decision.state,
            recommendation=decision.recommendation,
            variant_key=decision.variant_key,
            title=decision.title,
            summary=decision.summary,
            decided_at=decided_at,
        )
