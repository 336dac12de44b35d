"""From an experiment to the questions its metrics ask. Pure."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, TypeVar, get_args
from zoneinfo import ZoneInfo

from pydantic import JsonValue

from app.errors import ValidationFailed
from app.facts.activity import ActivityMath, is_activity_math
from app.facts.attribution import ATTRIBUTION_TYPES, FIRST_TOUCH, Attribution, AttributionType
from app.facts.calendar import INTERVALS, Interval
from app.facts.funnel import WINDOW_UNITS, ConversionWindow
from app.facts.metric import Window
from app.facts.series import EventSource
from app.facts.sessions import DURATION_PROPERTY
from app.facts.trend import PROPERTY_MATHS, Math, is_math
from app.facts.watches import SESSION_PROPERTY, Watch, group_property, watch
from app.moments import to_microseconds
from app.properties.filters import Group, parse_filter
from app.properties.splitting import both
from app.questions.entities import (
    NO_ACTIONS,
    NO_FILTER,
    Actions,
    Entity,
    invalid_filters,
    read_entities,
    read_group_type_index,
    read_list,
    refuse_missing_actions,
)

FLAG_CALLED = "$feature_flag_called"
DEFAULT_WINDOW = 14
# As a target metric, whatever is known and no trend is counted as a funnel, as it was in 2022.
_INSIGHTS = frozenset({"TRENDS", "FUNNELS", "RETENTION", "PATHS", "STICKINESS", "LIFECYCLE", "SESSIONS"})
OrderType: TypeAlias = Literal["ordered", "strict", "unordered"]
JsonDict: TypeAlias = dict[str, JsonValue]
Choice = TypeVar("Choice", bound=str)

ORDER_TYPES: tuple[OrderType, ...] = get_args(OrderType)

_SECOND = dt.timedelta(seconds=1)
# Keys that results show when they are set, with the type of their values.
_OPTIONAL_ECHOES: Mapping[str, type[int] | type[str]] = {
    "aggregation_group_type_index": int,
    "breakdown_attribution_value": int,
    "breakdown_limit": int,
    "funnel_order_type": str,
    "funnel_viz_type": str,
    "funnel_window_days": int,
    "layout": str,
    "limit": int,
    "offset": int,
}


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
    def so_far(self) -> "ExperimentScope":
        """The same up to now, where the end still lies ahead."""
        return replace(self, end=min(self.last, self.now))

    @property
    def window(self) -> Window:
        """From the second of the start to the end of the second of the end: both belong to the experiment."""
        since = self.start.replace(microsecond=0)
        until = self.last.replace(microsecond=0) + _SECOND
        return Window(to_microseconds(since), to_microseconds(until), is_open=self.end is None)

    @property
    def variant_property(self) -> str:
        return f"$feature/{self.flag_key}"

    def watch(
        self,
        entity: Entity,
        *,
        value_property: str | None = None,
        actor_property: str | None = None,
        actor_required: bool = False,
    ) -> Watch:
        """Return what to read for an entity; nothing for an action that is gone."""
        return watch(
            entity.sources or (),
            self.variant_property,
            value_property=value_property,
            actor_property=actor_property,
            actor_required=actor_required,
        )

    def exposures(self, always: Group = NO_FILTER) -> Watch:
        """Return the persons to whom an SDK reported to have shown a variant, those that pass a filter."""
        condition = {"key": "$feature_flag", "operator": "exact", "type": "event", "value": [self.flag_key]}
        source = EventSource(FLAG_CALLED, both(always, parse_filter([condition])))
        return watch([source], "$feature_flag_response")


@dataclass(frozen=True)
class Exclusion:
    entity: Entity
    from_step: int
    to_step: int


@dataclass(frozen=True)
class FunnelQuery:
    """``group_type_index`` is the type of groups that act instead of persons."""

    steps: Sequence[Entity]
    exclusions: Sequence[Exclusion]
    window: ConversionWindow
    interval: Interval = "day"
    group_type_index: int | None = None
    order_type: OrderType = "ordered"
    attribution: Attribution = FIRST_TOUCH

    def watches(self, scope: ExperimentScope) -> list[Watch]:
        """Return what to read: the steps, the exclusions, and for a strict funnel all events, in this order."""
        actor = None if self.group_type_index is None else group_property(self.group_type_index)
        required = actor is not None
        entities = [*self.steps, *(exclusion.entity for exclusion in self.exclusions)]
        watches = [scope.watch(entity, actor_property=actor, actor_required=required) for entity in entities]
        if self.order_type == "strict":
            everything = [EventSource(None, NO_FILTER)]
            watches.append(watch(everything, scope.variant_property, actor_property=actor, actor_required=required))
        return watches


@dataclass(frozen=True)
class TrendQuery:
    """``always`` is the filter on test accounts, where the metric has it: exposures follow it too."""

    entity: Entity
    math: Math | ActivityMath
    value_property: str | None
    interval: Interval
    always: Group = NO_FILTER

    @property
    def measures_sessions(self) -> bool:
        """Whether the numbers are durations of sessions, which no single event tells."""
        return self.value_property == DURATION_PROPERTY

    def watch(self, scope: ExperimentScope) -> Watch:
        """Return what to read for the entity."""
        if self.measures_sessions:
            return scope.watch(self.entity, actor_property=SESSION_PROPERTY, actor_required=True)
        if self.math == "unique_session":
            return scope.watch(self.entity, actor_property=SESSION_PROPERTY)
        if self.math == "unique_group" and self.entity.math_group_type_index is not None:
            return scope.watch(self.entity, actor_property=group_property(self.entity.math_group_type_index))
        return scope.watch(self.entity, value_property=self.value_property)


def read_insight(filters: Mapping[str, JsonValue]) -> str:
    """Return the insight's name in capitals; TRENDS where there is none."""
    insight = filters.get("insight", "TRENDS")
    if not isinstance(insight, str) or insight.upper() not in _INSIGHTS:
        raise invalid_filters()
    return insight.upper()


def read_funnel(
    filters: Mapping[str, JsonValue], actions: Actions = NO_ACTIONS, test_accounts: Group = NO_FILTER
) -> FunnelQuery:
    """Return the question that a funnel asks.

    Parameters
    ----------
    actions
        What the actions that the filters mention are.
    test_accounts
        The project's filter on test accounts, which holds for metrics that ask for it.

    Raises
    ------
    ValidationFailed
        When the filters cannot be read, or an action does not exist.
    """
    group_type_index = read_group_type_index(filters, "aggregation_group_type_index")
    always = test_account_filter(filters, test_accounts)
    steps = read_entities(filters, actions, always)
    refuse_missing_actions(steps)
    order_type = _read_choice(filters, "funnel_order_type", ORDER_TYPES, "ordered")
    exclusions = _read_exclusions(filters, steps, actions, always)
    if order_type == "unordered":
        _refuse_partial_exclusions(exclusions, len(steps))
    return FunnelQuery(
        steps,
        exclusions,
        _read_conversion_window(filters),
        _read_interval(filters),
        group_type_index,
        order_type,
        _read_attribution(filters, len(steps)),
    )


def read_trend(
    filters: Mapping[str, JsonValue], actions: Actions = NO_ACTIONS, test_accounts: Group = NO_FILTER
) -> TrendQuery | None:
    """Return the question that the first series of a trend asks; None when it has none that can have events."""
    read_group_type_index(filters, "aggregation_group_type_index")  # has no effect on trends, but has to be one
    always = test_account_filter(filters, test_accounts)
    entities = read_entities(filters, actions, always)
    interval = _read_interval(filters)
    if not entities or entities[0].sources is None:
        return None
    entity = entities[0]
    math = _read_math(entity)
    value_property = entity.math_property if math in PROPERTY_MATHS else None
    return TrendQuery(entity, math, value_property, interval, always)


def read_exposure(
    parameters: JsonValue, actions: Actions = NO_ACTIONS, test_accounts: Group = NO_FILTER
) -> TrendQuery | None:
    """Return what counts as exposure instead of ``$feature_flag_called``, where an experiment says so."""
    own = custom_exposure(parameters)
    return read_trend(own, actions, test_accounts) if own else None


def custom_exposure(parameters: JsonValue) -> Mapping[str, JsonValue]:
    """Return an experiment's own filters of exposure, which may mention actions; empty where it has none."""
    own = parameters.get("custom_exposure_filter") if isinstance(parameters, dict) else None
    return own if isinstance(own, dict) else {}


def test_account_filter(filters: Mapping[str, JsonValue], test_accounts: Group) -> Group:
    """Return the project's filter on test accounts where a metric asks for it, else one that everything passes."""
    return test_accounts if _filters_test_accounts(filters) else NO_FILTER


def _filters_test_accounts(filters: Mapping[str, JsonValue]) -> bool:
    value = filters.get("filter_test_accounts")
    return value is True or value == "true"


def _read_math(entity: Entity) -> Math | ActivityMath:
    """Return the mathematics of an entity; a name that nobody knows means counting, as it always did."""
    if is_activity_math(entity.math):
        if entity.math == "unique_group" and entity.math_group_type_index is None:
            raise ValidationFailed("math_group_type_index is required to be at least 0 and less than 5")
        return entity.math
    math: Math = entity.math if is_math(entity.math) else "total"
    if math in PROPERTY_MATHS and not entity.math_property:
        detail = "This field is required when `math` is set to a function."
        raise ValidationFailed(detail, code="required", attr="math_property")
    return math


def _read_choice(filters: Mapping[str, JsonValue], key: str, choices: Sequence[Choice], default: Choice) -> Choice:
    value = filters.get(key) or default
    known = next((choice for choice in choices if choice == value), None)
    if known is None:
        raise invalid_filters(f"{key} {str(value)[:100]!r} not supported")
    return known


def _read_attribution(filters: Mapping[str, JsonValue], step_count: int) -> Attribution:
    kind = _read_choice(filters, "breakdown_attribution_type", ATTRIBUTION_TYPES, "first_touch")
    if kind != "step":
        return Attribution(kind)
    value = filters.get("breakdown_attribution_value")
    step = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 4 else value
    if isinstance(step, bool) or not isinstance(step, int) or not 0 <= step < max(step_count, 1):
        raise invalid_filters(
            "breakdown_attribution_value must be the place of a step, from 0, for attribution by step"
        )
    return Attribution(kind, step)


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


def _read_exclusions(
    filters: Mapping[str, JsonValue], steps: Sequence[Entity], actions: Actions, always: Group
) -> list[Exclusion]:
    exclusions = []
    for item in read_list(filters, "exclusions"):
        kind = "actions" if item.get("type") == "actions" else "events"
        [entity] = read_entities({kind: [dict(item)]}, actions, always)
        first, last = _read_place(item.get("funnel_from_step")), _read_place(item.get("funnel_to_step"))
        if first is None or last is None:
            raise ValidationFailed("Exclusion event needs to define funnel steps")
        _refuse_bad_range(first, last, len(steps))
        if any(entity.repeats(step) for step in steps[first : last + 1]):
            raise ValidationFailed("Exclusion event can't be the same as funnel step")
        exclusions.append(Exclusion(entity, first, last))
    refuse_missing_actions([exclusion.entity for exclusion in exclusions])
    return exclusions


def _read_place(value: JsonValue) -> int | None:
    return value if isinstance(value, int) else None


def _refuse_partial_exclusions(exclusions: Sequence[Exclusion], step_count: int) -> None:
    if any(exclusion.from_step != 0 or exclusion.to_step != step_count - 1 for exclusion in exclusions):
        raise ValidationFailed("Partial Exclusions not allowed in unordered funnels")


def _refuse_bad_range(first: int, last: int, step_count: int) -> None:
    if first >= last:
        raise ValidationFailed("Exclusion event range is invalid. End of range should be greater than start.")
    if not 0 <= first < step_count - 1:
        raise ValidationFailed("Exclusion event range is invalid. Start of range is greater than number of steps.")
    if last > step_count - 1:
        raise ValidationFailed("Exclusion event range is invalid. End of range is greater than number of steps.")


def echo_funnel(query: FunnelQuery, filters: Mapping[str, JsonValue], scope: ExperimentScope) -> JsonDict:
    """Return the filters that took effect, in the form that results of funnels show."""
    display = filters.get("display")
    exclusions: list[JsonValue] = [
        {
            **exclusion.entity.echo(),
            "funnel_from_step": exclusion.from_step,
            "funnel_to_step": exclusion.to_step,
        }
        for exclusion in query.exclusions
    ]
    return {
        "limit": 100,
        **_echo_optional(filters),
        "breakdown": [scope.variant_property],
        **_echo_scope(scope, query.attribution.type),
        "display": display if isinstance(display, str) else "FunnelViz",
        **_echo_entities(query.steps),
        **({"exclusions": exclusions} if exclusions else {}),
        "funnel_window_interval": query.window.interval,
        "funnel_window_interval_unit": query.window.unit,
        "insight": "FUNNELS",
        "interval": query.interval,
        "smoothing_intervals": 1,
    }


def echo_trend(query: TrendQuery, filters: Mapping[str, JsonValue], scope: ExperimentScope) -> JsonDict:
    """Return the filters that took effect, in the form that results of trends show."""
    condition: JsonDict = {
        "key": scope.variant_property,
        "operator": "exact",
        "type": "event",
        "value": list(scope.variants),
    }
    attribution = filters.get("breakdown_attribution_type")
    first: AttributionType = "first_touch"
    known = next((known for known in ATTRIBUTION_TYPES if known == attribution), first)
    return {
        **_echo_optional(filters),
        "breakdown": scope.variant_property,
        **_echo_scope(scope, known),
        "display": "ActionsLineGraphCumulative",
        **_echo_entities([query.entity]),
        "insight": "TRENDS",
        "interval": query.interval,
        "properties": {"type": "AND", "values": [condition]},
        "smoothing_intervals": 1,
    }


def _echo_entities(entities: Sequence[Entity]) -> JsonDict:
    """Return the lists of events and of actions, those that are not empty."""
    lists: JsonDict = {}
    for kind in ("actions", "events"):
        shown: list[JsonValue] = [entity.echo() for entity in entities if entity.kind == kind]
        if shown:
            lists[kind] = shown
    return lists


def _echo_optional(filters: Mapping[str, JsonValue]) -> JsonDict:
    echo: JsonDict = {"filter_test_accounts": True} if _filters_test_accounts(filters) else {}
    for key, kind in _OPTIONAL_ECHOES.items():
        value = filters.get(key)
        if kind is int and isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
            value = int(value)
        is_set = value == 0 or bool(value) if key == "aggregation_group_type_index" else bool(value)
        if is_set and isinstance(value, kind) and not isinstance(value, bool):
            echo[key] = value
    return echo


def _echo_scope(scope: ExperimentScope, attribution: AttributionType) -> JsonDict:
    echo: JsonDict = {
        "breakdown_attribution_type": attribution,
        "breakdown_normalize_url": False,
        "breakdown_type": "event",
        "date_from": scope.start.astimezone(scope.timezone).replace(microsecond=0).isoformat(),
    }
    if scope.end is not None:
        echo["date_to"] = scope.end.astimezone(scope.timezone).replace(microsecond=0).isoformat()
    echo["explicit_date"] = "true"
    return echo
