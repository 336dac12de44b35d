"""Reading the entities of an insight: the events it is about, with their own filters and mathematics. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

from app.errors import ValidationFailed
from app.properties.filters import Group, InvalidFilter, parse_filter, split_by_type
from app.properties.matcher import compile_filter

Kind = Literal["events", "actions"]


@dataclass(frozen=True)
class Entity:
    """One event or action of an insight. ``order`` is its place among all of them, from 0."""

    id: str | int
    kind: Kind
    order: int
    name: str | None
    custom_name: str | None
    math: str | None
    math_property: str | None
    math_group_type_index: int | None
    event_filter: Group
    person_filter: Group
    properties: JsonValue

    def echo(self) -> dict[str, JsonValue]:
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
        """Whether every event of ``previous`` that passes its filters could be taken for this one's.

        Then one event must not count as both: this step needs a later one.
        """
        conditions = set(map(_canonical, _conditions(self.properties)))
        return self.id == previous.id and conditions <= set(map(_canonical, _conditions(previous.properties)))


def read_entities(filters: Mapping[str, JsonValue]) -> list[Entity]:
    """Return the entities of an insight in their order: actions before events where the order is equal.

    Raises
    ------
    ValidationFailed
        When the lists cannot be read, or an entity has no id.
    """
    entities: list[tuple[Kind, Mapping[str, JsonValue]]] = []
    kinds: Sequence[Kind] = ("actions", "events")
    for kind in kinds:
        entities += [(kind, item) for item in read_list(filters, kind)]
    entities.sort(key=lambda entity: _order(entity[1].get("order")))
    return [_read_entity(kind, item, order) for order, (kind, item) in enumerate(entities)]


def read_list(filters: Mapping[str, JsonValue], key: str) -> list[Mapping[str, JsonValue]]:
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


def _order(value: JsonValue) -> float:
    """Missing, null and 0 all come first, and keep the order in which they were given."""
    try:
        return float(value) or -1.0 if isinstance(value, str | int | float) else -1.0
    except ValueError as error:
        raise invalid_filters() from error


def _read_entity(kind: Kind, item: Mapping[str, JsonValue], order: int) -> Entity:
    identifier = item.get("id")
    if isinstance(identifier, bool) or not isinstance(identifier, str | int) or identifier == "":
        raise invalid_filters()
    identifier = str(identifier) if kind == "events" else identifier
    properties = item.get("properties")
    event_filter, person_filter, shown = _read_properties(properties)
    custom_name = _text(item.get("custom_name"))
    return Entity(
        id=identifier,
        kind=kind,
        order=order,
        name=_text(item.get("name")) or (str(identifier) if kind == "events" else None),
        custom_name=(custom_name or "").strip() or None,
        math=_text(item.get("math")),
        math_property=_text(item.get("math_property")),
        math_group_type_index=_group_type_index(item.get("math_group_type_index"), "math_group_type_index"),
        event_filter=event_filter,
        person_filter=person_filter,
        properties=shown,
    )


def _read_properties(properties: JsonValue) -> tuple[Group, Group, JsonValue]:
    """Return the filter on events, the filter on persons, and the form in which results show both."""
    try:
        tree = parse_filter(properties)
        event_filter, person_filter = split_by_type(tree)
        for part in (event_filter, person_filter):
            compile_filter(part)  # refuses what could not be evaluated before anything is stored
    except InvalidFilter as error:
        raise invalid_filters(str(error)) from error
    if not properties:
        return event_filter, person_filter, {}
    return event_filter, person_filter, tree.to_json()


def _text(value: JsonValue) -> str | None:
    return None if value is None or isinstance(value, dict | list | bool) else str(value)


def _group_type_index(value: JsonValue, name: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 5:
        raise ValidationFailed(f"{name} is required to be at least 0 and less than 5")
    return value


def read_group_type_index(filters: Mapping[str, JsonValue], name: str) -> int | None:
    """Return the index of a group type, 0 to 4."""
    return _group_type_index(filters.get(name), name)


def _conditions(properties: JsonValue) -> list[JsonValue]:
    values = properties.get("values") if isinstance(properties, dict) else None
    return values if isinstance(values, list) else []


def _canonical(condition: JsonValue) -> str:
    return json.dumps(condition, sort_keys=True)
