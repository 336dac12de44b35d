"""What the metrics of a form count today, and how large and long the experiment has to be."""

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from app.analysis.planning import plan
from app.analysis.planning_schemas import PowerRead, PowerRequest
from app.common.errors import ValidationFailed
from app.common.nouns import PERSONS
from app.db.models import utc_now
from app.events.usage.repository import MAX_EVENTS, EventUsageQueries, Overlap, Usage
from app.http.request_body import validate
from app.metrics.aggregation.person_values import NUMERIC
from app.pages.editing.metrics import events_of, kind_of
from app.pages.editing.rows import Fields, Row, count_rows

DAYS: Final = 14
_MAX_COUNTED: Final = 30  # names: each is a query
_SHARES: Final = ("funnel", "retention", "funnel_2022")
_NUMBERS: Final = ("mean", "trend_2022")


@dataclass(frozen=True)
class CountedEvent:
    """An event of a metric, with how often it came of late."""

    event: str
    usage: Usage

    @property
    def is_cut(self) -> bool:
        return self.usage.events >= MAX_EVENTS


@dataclass(frozen=True)
class Preview:
    """What a form would measure.

    Attributes
    ----------
    counted : mapping
        The events of each metric, by the metric's place in the form.
    power : PowerRead or None
        The plan; without one, ``problem`` says what it lacks.
    found : mapping
        Fields of the plan that the events gave, as the form shows them.
    """

    counted: Mapping[int, Sequence[CountedEvent]]
    power: PowerRead | None = None
    problem: str = ""
    found: Mapping[str, float] = field(default_factory=dict)


class PlanService:
    """Previews of one project's forms."""

    def __init__(self, usage: EventUsageQueries) -> None:
        self._usage = usage

    async def preview(self, fields: Fields, variants: int, unit: str, errors: dict[str, str]) -> Preview:
        """Count the events that the form names, and plan the experiment. Fields that are no numbers are errors.

        Events tell of persons: where groups are compared, the form has to say how many there are, and the metric.
        """
        since = utc_now() - dt.timedelta(days=DAYS)
        known: dict[str, Usage] = {}
        counted = {}
        for index in range(count_rows(fields, "m")):
            names = events_of(Row(fields, f"m{index}_", {}))
            for name in names:
                if name not in known and len(known) < _MAX_COUNTED:
                    known[name] = await self._usage.usage(name, since)
            counted[index] = [CountedEvent(name, known[name]) for name in names if name in known]
        form = Row(fields, "", errors)
        given = {name: form.number(name) for name in ("per_day", "baseline", "deviation")}
        effect = form.share("effect")
        target = Row(fields, "m0_", {})
        found = await self._measure(target, form.text("met"), since) if unit == PERSONS else {}
        known_figures = found | {name: value for name, value in given.items() if value is not None}
        try:
            request = _request(target, known_figures, effect, variants, unit)
            return Preview(counted, plan(validate(PowerRequest, request)), found=found)
        except ValidationFailed as refusal:
            return Preview(counted, problem=refusal.detail, found=found)

    async def _measure(self, target: Row, met: str, since: dt.datetime) -> dict[str, float]:
        """Return what recent events say about persons who meet the experiment at an event."""
        events = events_of(target)
        if not met or not events:
            return {}
        overlap = await self._usage.overlap(met, events[-1], since)
        if not overlap.persons:
            return {}
        return {"per_day": overlap.persons / DAYS, **_baseline(target, overlap)}


def _baseline(target: Row, overlap: Overlap) -> dict[str, float]:
    kind, persons = kind_of(target), overlap.persons
    if kind in _SHARES or target.text("math") == "dau":
        share = overlap.converted / persons
        return {"baseline": 100 * share} if kind in _SHARES else {"baseline": share, "deviation": _spread(share)}
    if kind not in _NUMBERS or target.text("math") in NUMERIC:
        return {}
    mean = overlap.total / persons
    return {"baseline": mean, "deviation": math.sqrt(max(overlap.total_squares / persons - mean * mean, 0))}


def _spread(share: float) -> float:
    return math.sqrt(share * (1 - share))


def _request(
    target: Row, figures: Mapping[str, float], effect: float | None, variants: int, unit: str
) -> dict[str, Any]:
    kind = kind_of(target)
    if effect is None:
        raise ValidationFailed("Say which change would be worth detecting.")
    if kind in {"ratio", "quantile"} or kind.startswith("json"):
        raise ValidationFailed("The size of this kind of metric is not planned.")
    if "baseline" not in figures:
        named = "Name the event at which persons meet the experiment, or say" if unit == PERSONS else "Say"
        raise ValidationFailed(f"{named} how large the metric is today.")
    request: dict[str, Any] = {"minimum_detectable_effect": effect, "relative": True, "variants": max(variants, 2)}
    if figures.get("per_day"):
        request["exposures_per_day"] = figures["per_day"]
    if kind in _SHARES:
        return request | {"metric_type": "funnel", "baseline": figures["baseline"] / 100}
    if "deviation" not in figures:
        raise ValidationFailed(f"Say how much the number varies between {unit}: its standard deviation.")
    deviation = figures["deviation"]
    return request | {"metric_type": "mean", "baseline": figures["baseline"], "variance": deviation * deviation}
