"""From an experiment to the questions its metrics ask. Pure."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias
from zoneinfo import ZoneInfo

from pydantic import JsonValue

from app.errors import ValidationFailed
from app.facts.calendar import INTERVALS, Interval
from app.facts.funnel import WINDOW_UNITS, ConversionWindow
from app.facts.metric import Watch, Window
from app.facts.series import SeriesDefinition
from app.facts.trend import PROPERTY_MATHS, Math, is_math
from app.moments import to_microseconds
from app.properties.filters import parse_filter
from app.results.entities import Entity, invalid_filters, read_entities, read_group_type_index, read_list

FLAG_CALLED = "$feature_flag_called"
DEFAULT_WINDOW = 14
Insight = Literal["FUNNELS", "TRENDS"]
JsonDict: TypeAlias = dict[str, JsonValue]

_SECOND = dt.timedelta(seconds=1)
# Counted per day of the whole project, per group or per session: not computed here, and refused rather than miscounted.
_UNAVAILABLE_MATHS = frozenset({"weekly_active", "monthly_active", "unique_group", "unique_session"})


@dataclass(frozen=True)
class ExperimentScope:
    """What all metrics of an experiment share: its flag's variants (control first), its time and its time zone."""

    flag_key: str
    variants: Sequence[str]
    start: dt.datetime
    end: dt.datetime | None
    now: dt.datetime
    timezone: ZoneInfo

    @property
    def last(self) -> dt.datetime:
        """The end of the experiment, or now while it runs."""
        return self.end or self.now

    @property
    def window(self) -> Window:
        """From the second of the start to the end of the second of the end: both belong to the experiment."""
        since = self.start.replace(microsecond=0)
        until = self.last.replace(microsecond=0) + _SECOND
        return Window(to_microseconds(since), to_microseconds(until), is_open=self.end is None)

    @property
    def variant_property(self) -> str:
        return f"$feature/{self.flag_key}"

    def watch(self, entity: Entity, value_property: str | None = None) -> Watch:
        series = SeriesDefinition(str(entity.id), entity.event_filter, self.variant_property, value_property)
        return Watch(series, entity.person_filter)

    @property
    def exposures(self) -> Watch:
        """Persons to whom an SDK reported to have shown a variant."""
        condition = {"key": "$feature_flag", "operator": "exact", "type": "event", "value": [self.flag_key]}
        series = SeriesDefinition(FLAG_CALLED, parse_filter([condition]), "$feature_flag_response")
        return Watch(series, parse_filter(None))


@dataclass(frozen=True)
class Exclusion:
    entity: Entity
    from_step: int
    to_step: int


@dataclass(frozen=True)
class FunnelQuery:
    steps: Sequence[Entity]
    exclusions: Sequence[Exclusion]
    window: ConversionWindow


@dataclass(frozen=True)
class TrendQuery:
    entity: Entity
    math: Math
    value_property: str | None
    interval: Interval


def read_insight(filters: Mapping[str, JsonValue]) -> str:
    """Return the insight's name in capitals; TRENDS where there is none."""
    insight = filters.get("insight", "TRENDS")
    if not isinstance(insight, str):
        raise invalid_filters()
    return insight.upper()


def read_funnel(filters: Mapping[str, JsonValue]) -> FunnelQuery:
    _refuse_groups(filters)
    steps = read_entities(filters)
    for step in steps:
        _refuse_actions(step)
    return FunnelQuery(steps, _read_exclusions(filters, steps), _read_conversion_window(filters))


def read_trend(filters: Mapping[str, JsonValue]) -> TrendQuery | None:
    """Return the question that the first series of a trend asks; None when it has none that can have events."""
    _refuse_groups(filters)
    entities = read_entities(filters)
    interval = _read_interval(filters)
    if not entities or entities[0].kind == "actions":
        return None
    entity = entities[0]
    math = _read_math(entity)
    value_property = entity.math_property if math in PROPERTY_MATHS else None
    return TrendQuery(entity, math, value_property, interval)


def _read_math(entity: Entity) -> Math:
    """Return the mathematics of an entity; a name that nobody knows means counting, as it always did."""
    if entity.math in _UNAVAILABLE_MATHS:
        raise invalid_filters(f"The math {entity.math!r} is not available")
    math: Math = entity.math if is_math(entity.math) else "total"
    if math in PROPERTY_MATHS and not entity.math_property:
        detail = "This field is required when `math` is set to a function."
        raise ValidationFailed(detail, code="required", attr="math_property")
    return math


def _read_interval(filters: Mapping[str, JsonValue]) -> Interval:
    interval = filters.get("interval") or "day"
    if interval == "minute":
        return "hour"
    known = next((known for known in INTERVALS if known == interval), None)
    if known is None:
        raise invalid_filters(f"{str(interval)[:100]} not supported")
    return known


def _read_conversion_window(filters: Mapping[str, JsonValue]) -> ConversionWindow:
    days = _read_number(filters.get("funnel_window_days"))
    if days:
        return ConversionWindow(days, "day")
    unit = str(filters.get("funnel_window_interval_unit") or "day").lower()
    known = next((known for known in WINDOW_UNITS if known == unit), None)
    if known is None:
        raise ValidationFailed("{interval} not supported")  # the 2022 text, literally
    return ConversionWindow(_read_number(filters.get("funnel_window_interval")) or DEFAULT_WINDOW, known)


def _read_number(value: JsonValue) -> int:
    """Read a whole number of window units; 0 stands for unset."""
    try:
        number = int(value) if isinstance(value, str | int | float) else 0
    except (ValueError, OverflowError) as error:
        raise invalid_filters() from error
    if not 0 <= number <= 100_000:
        raise invalid_filters()
    return number


def _read_exclusions(filters: Mapping[str, JsonValue], steps: Sequence[Entity]) -> list[Exclusion]:
    exclusions = []
    for item in read_list(filters, "exclusions"):
        kind = "actions" if item.get("type") == "actions" else "events"
        [entity] = read_entities({kind: [dict(item)]})
        _refuse_actions(entity)
        first, last = item.get("funnel_from_step"), item.get("funnel_to_step")
        if not isinstance(first, int) or not isinstance(last, int):
            raise ValidationFailed("Exclusion event needs to define funnel steps")
        _refuse_bad_range(first, last, len(steps))
        if any(entity.repeats(step) for step in steps[first : last + 1]):
            raise ValidationFailed("Exclusion event can't be the same as funnel step")
        exclusions.append(Exclusion(entity, first, last))
    return exclusions


def _refuse_bad_range(first: int, last: int, step_count: int) -> None:
    if first >= last:
        raise ValidationFailed("Exclusion event range is invalid. End of range should be greater than start.")
    if not 0 <= first < step_count - 1:
        raise ValidationFailed("Exclusion event range is invalid. Start of range is greater than number of steps.")
    if last > step_count - 1:
        raise ValidationFailed("Exclusion event range is invalid. End of range is greater than number of steps.")


def _refuse_actions(entity: Entity) -> None:
    """There are no actions to refer to yet."""
    if entity.kind == "actions":
        raise ValidationFailed(f"Action ID {entity.id} does not exist!")


def _refuse_groups(filters: Mapping[str, JsonValue]) -> None:
    if read_group_type_index(filters, "aggregation_group_type_index") is not None:
        raise invalid_filters("Aggregation by group is not available")


def echo_funnel(query: FunnelQuery, filters: Mapping[str, JsonValue], scope: ExperimentScope) -> JsonDict:
    """Return the filters that took effect, in the form that results of funnels show."""
    display = filters.get("display")
    echo: JsonDict = {
        "breakdown": [scope.variant_property],
        **_echo_scope(scope),
        "display": display if isinstance(display, str) else "FunnelViz",
        "events": [step.echo() for step in query.steps],
        "funnel_window_interval": query.window.interval,
        "funnel_window_interval_unit": query.window.unit,
        "insight": "FUNNELS",
        "interval": "day",
        "limit": 100,
        "smoothing_intervals": 1,
    }
    for key in ("exclusions", "funnel_window_days"):
        if filters.get(key):
            echo[key] = filters[key]
    return echo


def echo_trend(query: TrendQuery, scope: ExperimentScope) -> JsonDict:
    """Return the filters that took effect, in the form that results of trends show."""
    condition: JsonDict = {
        "key": scope.variant_property,
        "operator": "exact",
        "type": "event",
        "value": list(scope.variants),
    }
    return {
        "breakdown": scope.variant_property,
        **_echo_scope(scope),
        "display": "ActionsLineGraphCumulative",
        "events": [query.entity.echo()],
        "insight": "TRENDS",
        "interval": query.interval,
        "properties": {"type": "AND", "values": [condition]},
        "smoothing_intervals": 1,
    }


def _echo_scope(scope: ExperimentScope) -> JsonDict:
    echo: JsonDict = {
        "breakdown_attribution_type": "first_touch",
        "breakdown_normalize_url": False,
        "breakdown_type": "event",
        "date_from": scope.start.astimezone(scope.timezone).replace(microsecond=0).isoformat(),
    }
    if scope.end is not None:
        echo["date_to"] = scope.end.astimezone(scope.timezone).replace(microsecond=0).isoformat()
    echo["explicit_date"] = "true"
    return echo
