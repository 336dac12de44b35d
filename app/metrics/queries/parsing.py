"""Parses the filters of an experiment's metrics and of its exposure."""

from collections.abc import Sequence
from typing import Literal, TypeAlias, TypeVar, get_args

from pydantic import JsonValue

from app.common.errors import ValidationFailed
from app.metrics.aggregation.active_users import ActivityMath
from app.metrics.aggregation.attribution import ATTRIBUTION_TYPES, Attribution
from app.metrics.aggregation.calendar import INTERVALS, Interval
from app.metrics.aggregation.funnel import WINDOW_UNITS, ConversionWindow
from app.metrics.aggregation.trend import PROPERTY_MATHS, Math
from app.metrics.queries.entities import (
    NO_ACTIONS,
    NO_FILTER,
    Actions,
    Entity,
    Filters,
    check_limits,
    invalid_filters,
    read_entities,
    read_group_type_index,
    read_list,
    refuse_missing_actions,
    shown,
)
from app.metrics.queries.models import Exclusion, FunnelQuery, OrderType, TrendQuery
from app.metrics.queries.scope import ExperimentScope
from app.properties.budget import FilterBudget
from app.properties.filters import Group, InvalidFilter

DEFAULT_WINDOW = 14
ORDER_TYPES: tuple[OrderType, ...] = get_args(OrderType)
Insight: TypeAlias = Literal["TRENDS", "FUNNELS"]
_OF_PARTICIPANTS = frozenset({"properties", "aggregation_group_type_index"})
INSIGHTS: tuple[Insight, ...] = get_args(Insight)
# Insights of PostHog that are not metrics: they were counted as funnels in 2022.
_OTHER_INSIGHTS = frozenset({"RETENTION", "PATHS", "STICKINESS", "LIFECYCLE", "SESSIONS"})

Choice = TypeVar("Choice", bound=str)


class UnsupportedInsight(ValidationFailed):
    """A metric is an insight of PostHog that is neither a trend nor a funnel."""


def define_target(filters: Filters, *, beside_typed: bool) -> bool:
    """Whether filters of 2022 define the target metric; ``beside_typed`` metrics they may only say who takes part."""
    return bool(filters.keys() - _OF_PARTICIPANTS) if beside_typed else bool(filters)


def read_insight(filters: Filters) -> Insight:
    """Return the insight, which may be written in any case; TRENDS by default.

    Raises
    ------
    UnsupportedInsight
        When it is another insight of PostHog.
    ValidationFailed
        When there is no such insight.
    """
    given = filters.get("insight", "TRENDS")
    name = given.upper() if isinstance(given, str) else ""
    known = next((known for known in INSIGHTS if known == name), None)
    if known is not None:
        return known
    detail = f"Filters are not valid (insight {shown(given)} is not supported: use {' or '.join(INSIGHTS)})"
    if name in _OTHER_INSIGHTS:
        raise UnsupportedInsight(detail, attr="filters")
    raise invalid_filters(detail)


def read_funnel(filters: Filters, actions: Actions = NO_ACTIONS, test_accounts: Group = NO_FILTER) -> FunnelQuery:
    """Return the query of a funnel.

    Parameters
    ----------
    actions
        The actions that the filters mention.
    test_accounts
        The project's filter on test accounts, which applies to metrics that ask for it.

    Raises
    ------
    ValidationFailed
        When the filters cannot be read, or an action does not exist.
    """
    return read_funnel_of(filters, actions, test_account_filter(filters, test_accounts))


def read_funnel_of(filters: Filters, actions: Actions, always: Group) -> FunnelQuery:
    """Return the query of a funnel of events that pass a filter; see ``read_funnel``."""
    check_limits(filters)
    group_type_index = read_group_type_index(filters, "aggregation_group_type_index")
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


def read_trend(filters: Filters, actions: Actions = NO_ACTIONS, test_accounts: Group = NO_FILTER) -> TrendQuery | None:
    """Return the query of the first series of a trend; None without any series.

    Raises
    ------
    ValidationFailed
        When the filters cannot be read, or the action of the series does not exist.
    """
    found = read_trends_of(filters, actions, test_account_filter(filters, test_accounts), most=1)
    return found[0] if found else None


def read_trends_of(filters: Filters, actions: Actions, always: Group, most: int | None = None) -> list[TrendQuery]:
    """Return the queries of the series of a trend, or of the first ones, of events that pass a filter.

    Raises
    ------
    ValidationFailed
        When the filters cannot be read, or the action of a series does not exist.
    """
    check_limits(filters)
    read_group_type_index(filters, "aggregation_group_type_index")  # has no effect on trends, but must be valid
    entities = read_entities(filters, actions, always)
    interval = _read_interval(filters)
    entities = entities[:most]
    refuse_missing_actions(entities)
    queries = []
    for entity in entities:
        math = _read_math(entity)
        value_property = entity.math_property if math in PROPERTY_MATHS else None
        queries.append(TrendQuery(entity, math, value_property, interval, always))
    return queries


def read_exposure(
    parameters: JsonValue, actions: Actions = NO_ACTIONS, test_accounts: Group = NO_FILTER
) -> TrendQuery | None:
    """Return the query of an experiment's own exposure, which replaces ``$feature_flag_called``; None without one."""
    own = custom_exposure(parameters)
    return read_trend(own, actions, test_accounts) if own else None


def custom_exposure(parameters: JsonValue) -> Filters:
    """Return an experiment's own filters of exposure, which may mention actions; empty by default."""
    own = parameters.get("custom_exposure_filter") if isinstance(parameters, dict) else None
    return own if isinstance(own, dict) else {}


def test_account_filter(filters: Filters, test_accounts: Group) -> Group:
    """Return the project's filter on test accounts if the metric asks for it, else one that all events pass."""
    if not filters_test_accounts(filters):
        return NO_FILTER
    try:
        FilterBudget().count_parsed(test_accounts)
    except InvalidFilter as error:
        raise ValidationFailed(error.detail, code=error.code, attr="filters") from error
    return test_accounts


def filters_test_accounts(filters: Filters) -> bool:
    value = filters.get("filter_test_accounts")
    return value is True or value == "true"


def foreign_groups(filters: Filters, scope: ExperimentScope) -> str:
    """Return why a metric is not about the units of an experiment; an empty text where it is.

    In an experiment of persons, a metric may be about groups.
    """
    own, assigned = read_group_type_index(filters, "aggregation_group_type_index"), scope.group_type_index
    if own is None or assigned is None or own == assigned:
        return ""
    return f"The metric is about groups of the type {own}, but the flag assigns groups of the type {assigned}."


def _read_math(entity: Entity) -> Math | ActivityMath:
    math = entity.aggregation
    if math == "unique_group" and entity.math_group_type_index is None:
        raise ValidationFailed("math_group_type_index is required to be at least 0 and less than 5")
    if math in PROPERTY_MATHS and not entity.math_property:
        detail = "This field is required when `math` is set to a function."
        raise ValidationFailed(detail, code="required", attr="math_property")
    return math


def _read_choice(filters: Filters, key: str, choices: Sequence[Choice], default: Choice) -> Choice:
    value = filters.get(key) or default
    known = next((choice for choice in choices if choice == value), None)
    if known is None:
        raise invalid_filters(f"{key} {str(value)[:100]!r} not supported")
    return known


def _read_attribution(filters: Filters, step_count: int) -> Attribution:
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


def _read_interval(filters: Filters) -> Interval:
    interval = filters.get("interval") or "day"
    if interval == "minute":
        return "hour"
    known = next((known for known in INTERVALS if known == interval), None)
    if known is None:
        raise invalid_filters(f"{str(interval)[:100]} not supported")
    return known


def _read_conversion_window(filters: Filters) -> ConversionWindow:
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


def _read_exclusions(filters: Filters, steps: Sequence[Entity], actions: Actions, always: Group) -> list[Exclusion]:
    exclusions = []
    for item in read_list(filters, "exclusions"):
        kind = "actions" if item.get("type") == "actions" else "events"
        [entity] = read_entities({kind: [dict(item)]}, actions, always)
        first, last = _read_step(item.get("funnel_from_step")), _read_step(item.get("funnel_to_step"))
        if first is None or last is None:
            raise ValidationFailed("Exclusion event needs to define funnel steps")
        _refuse_bad_range(first, last, len(steps))
        if any(entity.repeats(step) for step in steps[first : last + 1]):
            raise ValidationFailed("Exclusion event can't be the same as funnel step")
        exclusions.append(Exclusion(entity, first, last))
    refuse_missing_actions([exclusion.entity for exclusion in exclusions])
    return exclusions


def _read_step(value: JsonValue) -> int | None:
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
