"""The breakdown that a metric brings along, as PostHog writes it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, ClassVar

from pydantic import Field, ValidationError, model_validator

from app.common import limits
from app.http.fields import IsList, Text, refusal
from app.metrics.queries.breakdown import Breakdown, BreakdownType
from app.metrics.queries.typed.copied import OF_BREAKDOWN, OF_BREAKDOWN_FILTER, Copied, CopiedBody


class BrokenDownProperty(CopiedBody):
    copied: ClassVar[Copied] = OF_BREAKDOWN

    property: Text = Field(examples=["$browser"])
    type: BreakdownType = Field(default="event", description="Whether it is a property of events or of persons.")


class BreakdownFilter(CopiedBody):
    """What `analysis` breaks the metric down by, each time: by the exposure, as `analysis/?breakdown=` does."""

    copied: ClassVar[Copied] = OF_BREAKDOWN_FILTER

    breakdowns: Annotated[list[BrokenDownProperty], IsList] = Field(
        default=[], description="The property; none: the metric is not broken down."
    )
    breakdown_limit: Annotated[int, Field(ge=1, le=limits.BREAKDOWN_VALUES.value, strict=True)] | None = Field(
        default=None, description="The number of values, the most frequent first; 20 unless it is given."
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_untold_type(cls, document: object) -> object:
        """Refuse ``breakdown_type`` where it alone says whose property it is: that of an event would be taken."""
        if isinstance(document, Mapping) and document.get("breakdown_type") == "person":
            listed = document.get("breakdowns")
            for one in listed if isinstance(listed, list) else ():
                if isinstance(one, Mapping) and one.get("type") is None:
                    raise refusal("Write the `type` into `breakdowns`: `breakdown_type` has no effect.")
        return document

    @model_validator(mode="after")
    def _refuse_several(self) -> "BreakdownFilter":
        if len(self.breakdowns) > 1:
            raise refusal(f"A metric is broken down by one property, not by {len(self.breakdowns)}.")
        return self

    @property
    def breakdown(self) -> Breakdown | None:
        """What it stands for; None where it names no property."""
        if not self.breakdowns:
            return None
        [one] = self.breakdowns
        asked = Breakdown(one.property, one.type)
        return asked if self.breakdown_limit is None else replace(asked, limit=self.breakdown_limit)


def read_breakdown_filter(stored: object) -> Breakdown | None:
    """Return the breakdown of a stored metric; None without one, and where it cannot be read."""
    try:
        return None if stored is None else BreakdownFilter.model_validate(stored).breakdown
    except ValidationError:
        return None
