"""From counts of insights to their bodies."""

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from app.common.errors import ValidationFailed
from app.insights.requests import CUMULATIVE, InsightRequest
from app.insights.schemas import (
    FunnelInsightRead,
    FunnelStepInsightRead,
    TrendInsightRead,
    TrendSeriesInsightRead,
)
from app.metrics.aggregation.calendar import Ticks
from app.metrics.queries.applied_filters import entity_filters, optional_filters
from app.metrics.queries.entities import Entity
from app.metrics.queries.insights import FunnelByValue, TrendByValue
from app.metrics.queries.models import FunnelQuery, TrendQuery
from app.metrics.queries.scope import ExperimentScope

OTHER: Final = "Other"
NO_VALUE: Final = ""
_NONE: Final = "none"  # the label of events without a value
JsonDict = dict[str, JsonValue]


def write_trend(
    request: InsightRequest,
    scope: ExperimentScope,
    queries: Sequence[TrendQuery],
    counted: Sequence[tuple[TrendByValue, Sequence[str]]],
    ticks: Ticks,
) -> TrendInsightRead:
    """Return the body of a trend; each of its series is counted and has the texts of its values.

    Raises
    ------
    ValidationFailed
        When a figure is not finite.
    """
    about = _about(
        request, scope, [query.entity for query in queries], "TRENDS", queries[0].interval if queries else ""
    )
    labels, days = ticks.labels(), ticks.days()
    result: list[TrendSeriesInsightRead] = []
    for query, (counts, texts) in zip(queries, counted, strict=True):
        rows = [
            _series(request, query, figures, text, (labels, days), about)
            for figures, text in zip(counts.counts.values, texts, strict=True)
        ]
        result += sorted(rows, key=lambda one: (-one.count, one.label))
    return TrendInsightRead(result=result, next=None, **_when(scope))


def _series(
    request: InsightRequest,
    query: TrendQuery,
    figures: NDArray[np.float64],
    text: str,
    times: tuple[list[str], list[str]],
    about: JsonDict,
) -> TrendSeriesInsightRead:
    shown = np.cumsum(figures) if request.display == CUMULATIVE else figures
    total, name = float(figures.sum()), str(query.entity.name)
    if not math.isfinite(total) or not np.isfinite(shown).all():
        raise ValidationFailed(f"A figure of {name!r} is not finite")
    is_broken = request.breakdown is not None
    labels, days = times
    return TrendSeriesInsightRead(
        action=query.entity.to_json(),
        label=f"{name} - {text or _NONE}" if is_broken else name,
        count=total,
        data=shown.tolist(),
        labels=labels,
        days=days,
        persons_urls=[],
        filter=about,
        **({"breakdown_value": text} if is_broken else {}),
    )


def write_funnel(
    request: InsightRequest,
    scope: ExperimentScope,
    query: FunnelQuery,
    counted: FunnelByValue,
    texts: Sequence[str],
) -> FunnelInsightRead:
    """Return the body of a funnel; ``texts`` are those of the values."""
    counts = counted.counts
    averages, medians = counts.average_conversion_time, counts.median_conversion_time
    unknown = np.full(len(query.steps), math.nan)
    if request.breakdown is None:
        steps = _steps(query, counts.of_variants[0], averages[0], medians[0])
        return FunnelInsightRead(result=steps, **_when(scope))
    names = [*texts, *([OTHER] if counted.has_others else [])]
    found = [(name, counts.of_variants[place], averages[place], medians[place]) for place, name in enumerate(names)]
    found.append((NO_VALUE, counts.reached[0], unknown, unknown))
    present = sorted((one for one in found if one[1][0] > 0), key=lambda one: -int(one[1][0]))
    result = []
    for name, *figures in present:
        value = [name] if request.lists_values else name
        result.append(_steps(query, *figures, breakdown=value, breakdown_value=value))
    return FunnelInsightRead(result=result, **_when(scope))


def _steps(
    query: FunnelQuery,
    reached: NDArray[np.int64],
    averages: NDArray[np.float64],
    medians: NDArray[np.float64],
    **of_value: str | list[str],
) -> list[FunnelStepInsightRead]:
    is_ordered = query.order_type != "unordered"  # there a step is a number of completed steps, not an event
    return [
        FunnelStepInsightRead(
            action_id=step.id if is_ordered else None,
            name=step.step_name if is_ordered else f"Completed {index + 1} step{'s' if index else ''}",
            custom_name=step.custom_name if is_ordered else None,
            order=step.order,
            people=[],
            count=int(reached[index]),
            type=step.kind,
            average_conversion_time=_number_or_none(float(averages[index])),
            median_conversion_time=_number_or_none(float(medians[index])),
            converted_people_url=None,
            dropped_people_url=None,
            **of_value,
        )
        for index, step in enumerate(query.steps)
    ]


def _number_or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _when(scope: ExperimentScope) -> Mapping[str, Any]:
    return {
        "timezone": scope.timezone.key,
        "last_refresh": scope.now.astimezone(dt.UTC).replace(microsecond=0),
        "is_cached": False,
    }


def _about(
    request: InsightRequest, scope: ExperimentScope, entities: Sequence[Entity], insight: str, interval: str
) -> JsonDict:
    """Return what was counted, in the form of 2022."""
    about: JsonDict = {
        **optional_filters(request.filters),
        "display": request.display,
        "date_from": scope.start.astimezone(scope.timezone).isoformat(timespec="seconds"),
        **entity_filters(entities),
        "insight": insight,
        "interval": interval,
    }
    if scope.end is not None:
        about["date_to"] = scope.end.astimezone(scope.timezone).isoformat(timespec="seconds")
    if request.restriction.children:
        about["properties"] = request.restriction.to_json()
    if request.breakdown is not None:
        about["breakdown"] = request.breakdown.property
        about["breakdown_type"] = request.breakdown.type
    return about
