"""Reads the entities of an insight: events and actions, with their filters and aggregations."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, get_args

from pydantic import JsonValue

from app.common import limits
from app.common.errors import ValidationFailed
from app.common.ids import read_reference
from app.metrics.aggregation.active_users import ActivityMath, is_activity_math
from app.metrics.aggregation.trend import Math, is_math
from app.metrics.facts.series import ActionSource, EventSource
from app.metrics.queries.metric_limits import check_metric_limits
from app.properties.filters import Conjunction, Group, InvalidFilter, conditions_of, parse_filter
from app.properties.splitting import alternatives, both
from app.properties.subjects import is_cohort
from app.properties.validation import validate_filter

Kind = Literal["events", "actions"]
Filters = Mapping[str, JsonValue]
Actions = Mapping[int, ActionSource]

NO_ACTIONS: Actions = {}
NO_FILTER = Conjunction()


@dataclass(frozen=True)
class Entity:
    """One event or action of an insight. ``order`` is its position among all of them, from 0.

    ``math`` is the aggregation as it was written, and ``aggregation`` the one that it names.
    ``sources`` select its events, with the filters of the entity; None for an action that does not exist.
    """

    id: str | int
    kind: Kind
    order: int
    name: str | None
    custom_name: str | None
    math: str | None
    aggregation: Math | ActivityMath
    math_property: str | None
    math_group_type_index: int | None
    sources: tuple[EventSource, ...] | None
    properties: JsonValue

    @property
    def step_name(self) -> str:
        """The name as a step of a funnel: for an event its id, even if the metric renames it."""
        return str(self.id) if self.kind == "events" or self.name is None else self.name

    def to_json(self) -> dict[str, JsonValue]:
        """Return the entity as results show it."""
        return {
            "id": self.id,
            "type": self.kind,
            "order": self.order,
            "name": self.name,
            "custom_name": self.custom_name,
            "math": self.math,
            "math_property": self.math_property,
            "math_group_type_index": self.math_group_type_index,
            "properties": self.properties,
        }

    def repeats(self, previous: "Entity") -> bool:
        """Whether every event of ``previous`` is an event of this entity too.

        Then one event must not count as both: this step needs a later one.
        """
        if self.id != previous.id:
            return False
        conditions = set(map(_canonical, _conditions(self.properties)))
        return conditions <= set(map(_canonical, _conditions(previous.properties)))


def read_entities(filters: Filters, actions: Actions = NO_ACTIONS, always: Group = NO_FILTER) -> list[Entity]:
    """Return the entities of an insight in their order: actions before events where the order is equal.

    Parameters
    ----------
    actions
        The actions that the insight mentions; one that is missing does not exist.
    always
        A filter that applies to all entities besides their own.

    Raises
    ------
    ValidationFailed
        When the lists cannot be read or are too large, or an entity has no id.
    """
    check_limits(filters)
    entities: list[tuple[Kind, Mapping[str, JsonValue]]] = []
    kinds: Sequence[Kind] = ("actions", "events")
    for kind in kinds:
        entities += [(kind, item) for item in read_list(filters, kind)]
    _refuse_many_copies(entities, actions, always)
    entities.sort(key=lambda entity: _order(entity[1].get("order")))
    return [_read_entity(kind, item, order, actions, always) for order, (kind, item) in enumerate(entities)]


def mentioned_actions(filters: Filters) -> set[int]:
    """Return the ids of the actions that an insight mentions, exclusions included."""
    items = read_list(filters, "actions")
    items += [item for item in read_list(filters, "exclusions") if item.get("type") == "actions"]
    return {number for item in items if (number := read_reference(item.get("id"))) is not None}


def cohorts_in(trees: Iterable[Group]) -> set[int]:
    """Return the ids of the cohorts that filters name."""
    conditions = (condition for tree in trees for condition in conditions_of(tree) if is_cohort(condition))
    values = (one.value[0] if isinstance(one.value, tuple) and one.value else one.value for one in conditions)
    return {number for value in values if (number := read_reference(value)) is not None}


def filters_in(filters: Filters) -> list[Group]:
    """Return the filters of all entities, exclusions included; those that cannot be read are left out."""
    found = []
    for item in (item for key in ("events", "actions", "exclusions") for item in read_list(filters, key)):
        with suppress(InvalidFilter):
            found.append(parse_filter(item.get("properties")))
    return found


def refuse_missing_actions(entities: Sequence[Entity]) -> None:
    """Refuse actions that do not exist."""
    for entity in entities:
        if entity.sources is None:
            raise ValidationFailed(f"Action ID {entity.id} does not exist!")


def event_names(entities: Sequence[Entity]) -> list[str]:
    """Return the names of all events of the entities, for actions those of all their steps."""
    sources = [source for entity in entities for source in entity.sources or ()]
    return sorted({source.name for source in sources if source.name is not None})


def read_list(filters: Filters, key: str) -> list[Mapping[str, JsonValue]]:
    """Return a list of objects that may also have been sent as JSON text."""
    value = filters.get(key)
    if isinstance(value, str):
        try:
            value = json.loads(value) if value else []
        except (ValueError, RecursionError) as error:
            raise invalid_filters() from error
    items = [] if value is None else value
    if not isinstance(items, list):
        raise invalid_filters()
    objects = [item for item in items if isinstance(item, dict)]
    if len(objects) < len(items):
        raise invalid_filters()
    return list(objects)


def invalid_filters(detail: str = "Filters are not valid") -> ValidationFailed:
    return ValidationFailed(detail, attr="filters")


def shown(value: JsonValue) -> str:
    """Return the beginning of a value, for a refusal."""
    return (repr(value) if isinstance(value, str) else json.dumps(value))[:100]


def _read_aggregation(math: JsonValue) -> Math | ActivityMath:
    """Return the aggregation that a name in any case means; the total where there is none.

    Funnels count persons whatever it is, but an unknown one is refused there too.
    """
    name = math.lower() if isinstance(math, str) else None
    if math is None or name == "":
        return "total"
    if is_activity_math(name) or is_math(name):
        return name
    known = ", ".join((*get_args(Math), *get_args(ActivityMath)))
    raise invalid_filters(f"Filters are not valid (math {shown(math)} is not supported: use one of {known})")


def _order(value: JsonValue) -> float:
    """Return the sort key of an entity: missing, null and 0 come first, in the order in which they were given."""
    try:
        order = float(value) if isinstance(value, str | int | float) else 0.0
    except (ValueError, OverflowError) as error:
        raise invalid_filters() from error
    if not math.isfinite(order):
        raise invalid_filters()
    return order or -1.0


def _read_entity(kind: Kind, item: Mapping[str, JsonValue], order: int, actions: Actions, always: Group) -> Entity:
    identifier = item.get("id")
    if isinstance(identifier, bool) or not isinstance(identifier, str | int) or identifier == "":
        raise invalid_filters()
    identifier = str(identifier) if kind == "events" else identifier
    own, shown = _read_properties(item.get("properties"))
    action = _action_of(kind, item, actions)
    name = _text(item.get("name"))
    custom_name = _text(item.get("custom_name"))
    return Entity(
        id=identifier,
        kind=kind,
        order=order,
        name=(name or str(identifier)) if kind == "events" else action.name if action else name,
        custom_name=(custom_name or "").strip() or None,
        math=_text(item.get("math")),
        aggregation=_read_aggregation(item.get("math")),
        math_property=_text(item.get("math_property")),
        math_group_type_index=_group_type_index(item.get("math_group_type_index"), "math_group_type_index"),
        sources=_sources(kind, str(identifier), action, both(always, own)),
        properties=shown,
    )


def _action_of(kind: Kind, item: Mapping[str, JsonValue], actions: Actions) -> ActionSource | None:
    number = read_reference(item.get("id")) if kind == "actions" else None
    return actions.get(number) if number is not None else None


def _sources(kind: Kind, name: str, action: ActionSource | None, restriction: Group) -> tuple[EventSource, ...] | None:
    if kind == "events":
        return (_checked(EventSource(name, restriction)),)
    if action is None:
        return None
    return tuple(_checked(EventSource(source.name, both(restriction, source.filter))) for source in action.sources)


def _checked(source: EventSource) -> EventSource:
    """Return the source; refuse one whose filter cannot be evaluated, before anything is stored."""
    try:
        validate_filter(source.filter)
    except InvalidFilter as error:
        raise _refusal_of(error) from error
    return source


def _read_properties(properties: JsonValue) -> tuple[Group, JsonValue]:
    """Return a filter, and the form in which results show it."""
    try:
        tree = parse_filter(properties)
    except InvalidFilter as error:
        raise _refusal_of(error) from error
    return tree, tree.to_json() if properties else {}


def check_limits(filters: Filters) -> None:
    """Refuse a metric that has too many or too large parts.

    Raises
    ------
    ValidationFailed
        Its ``code`` names the limit.
    """
    try:
        check_metric_limits(filters)
    except InvalidFilter as error:
        raise _refusal_of(error) from error


def _refuse_many_copies(
    entities: Sequence[tuple[Kind, Mapping[str, JsonValue]]], actions: Actions, always: Group
) -> None:
    """Refuse conditions that would be copied into too many steps of actions, before any is."""
    copies = 0
    for kind, item in entities:
        action = _action_of(kind, item, actions)
        sources = 1 if action is None else len(action.sources)
        restriction = both(always, _read_properties(item.get("properties"))[0])
        copies += sources * _size(restriction) * _count_alternatives(restriction)
    if copies > limits.ALTERNATIVES.value:
        raise ValidationFailed(limits.ALTERNATIVES.detail, code="too_many_conditions", attr="filters")


def _count_alternatives(tree: Group) -> int:
    try:
        return len(alternatives(tree))
    except InvalidFilter as error:
        raise _refusal_of(error) from error


def _size(tree: Group) -> int:
    return sum(1 for _ in conditions_of(tree))


def _refusal_of(error: InvalidFilter) -> ValidationFailed:
    return ValidationFailed(error.detail, code=error.code, attr="filters")


def _text(value: JsonValue) -> str | None:
    return None if value is None or isinstance(value, dict | list | bool) else str(value)


def _group_type_index(value: JsonValue, name: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, str) and value in {"0", "1", "2", "3", "4"}:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 5:
        raise ValidationFailed(f"{name} is required to be at least 0 and less than 5")
    return value


def read_group_type_index(filters: Filters, name: str) -> int | None:
    """Return the index of a group type, 0 to 4."""
    return _group_type_index(filters.get(name), name)


def _conditions(properties: JsonValue) -> list[JsonValue]:
    values = properties.get("values") if isinstance(properties, dict) else None
    return values if isinstance(values, list) else []


def _canonical(condition: JsonValue) -> str:
    return json.dumps(condition, sort_keys=True)
