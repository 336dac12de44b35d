"""Property filters as trees of conditions, parsed from the forms in which clients send them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, TypeAlias, TypeGuard

from app.common.json_text import write_json
from app.properties.errors import InvalidFilter
from app.properties.operators import (
    NEEDS_NO_VALUE,
    OPERATORS,
    TYPES,
    Operator,
    PropertyType,
    Scalar,
    Value,
    check_value,
    is_operator,
    is_type,
    operators_of,
)
from app.properties.text import sorted_json

__all__ = [
    "Condition",
    "Conjunction",
    "Disjunction",
    "Group",
    "InvalidFilter",
    "Json",
    "Node",
    "Operator",
    "PropertyType",
    "Scalar",
    "Value",
    "canonical",
    "conditions_of",
    "conditions_written",
    "is_group",
    "parse_filter",
]

Node: TypeAlias = "Condition | Conjunction | Disjunction"
Group: TypeAlias = "Conjunction | Disjunction"
Json: TypeAlias = "Scalar | list[Json] | dict[str, Json]"

_TRUE_TEXTS: Final = frozenset({"y", "yes", "t", "true", "on", "1"})
_FALSE_TEXTS: Final = frozenset({"n", "no", "f", "false", "off", "0", "", "none"})
_GROUP_TYPES: Final = range(5)
_FIELDS_BESIDE_KEY: Final = frozenset({"value", "operator", "type"})
_DEEPEST_NESTING: Final = 20
_SHOWN_CHARACTERS: Final = 100


@dataclass(frozen=True, slots=True)
class Condition:
    """Compares one property with a value, or with any of several values.

    Equality and hash use the JSON of the value: ``1`` and ``true`` are equal in Python but filter differently.
    """

    key: str
    operator: Operator = "exact"
    value: Value = field(default=None, compare=False)
    type: PropertyType = "event"
    group_type_index: int | None = None
    negation: bool = False
    value_json: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Derive the JSON of the value.

        Raises
        ------
        ValueError
            When the value is NaN or infinite.
        """
        object.__setattr__(self, "value_json", json.dumps(self.value, allow_nan=False))

    @property
    def types(self) -> frozenset[PropertyType]:
        return frozenset({self.type})

    def to_json(self) -> Json:
        body: dict[str, Json] = {
            "key": self.key,
            "operator": self.operator,
            "type": self.type,
            "value": list(self.value) if isinstance(self.value, tuple) else self.value,
        }
        if self.group_type_index is not None:
            body["group_type_index"] = self.group_type_index
        if self.negation:
            body["negation"] = True
        return body


@dataclass(frozen=True, slots=True)
class Conjunction:
    """Matches if all children match; without children, always."""

    children: tuple[Node, ...] = ()

    @property
    def types(self) -> frozenset[PropertyType]:
        return _types_of(self.children)

    def to_json(self) -> Json:
        return {"type": "AND", "values": [child.to_json() for child in self.children]}


@dataclass(frozen=True, slots=True)
class Disjunction:
    """Matches if at least one child matches; without children, always, as if there were no filter."""

    children: tuple[Node, ...] = ()

    @property
    def types(self) -> frozenset[PropertyType]:
        return _types_of(self.children)

    def to_json(self) -> Json:
        return {"type": "OR", "values": [child.to_json() for child in self.children]}


def parse_filter(value: object, *, allows_flags: bool = False) -> Group:
    """Parse a property filter in any form that clients send.

    Parameters
    ----------
    value : JSON value or JSON text
        - a list of properties: all of them must match;
        - ``{"type": "AND" | "OR", "values": [...]}``: the values are all groups or all properties;
        - ``{"name": value, "name__operator": value}``: all of these event properties must match;
        - the JSON text of one of these;
        - None or an empty value: no restriction.

        A property is ``{"key", "value", "operator", "type", "group_type_index", "negation"}``. The operator defaults to
        the one that tests for equality; the type to ``event``. ``is_set`` and ``is_not_set`` need no value.
    allows_flags
        Whether conditions on the values of other flags are allowed.

    Raises
    ------
    InvalidFilter
        For whatever is not understood: it names it, and what is known. No condition is ever left out, because a filter
        without it would match more.
    """
    document = _from_text(value) if isinstance(value, str) else value
    if document is None:
        return Conjunction()
    if isinstance(document, Mapping):
        if is_group(document):
            return _parse_group(document, 1, allows_flags=allows_flags)
        return _parse_old_style(document)
    if isinstance(document, list | tuple):
        return Conjunction(_parse_conditions(document, allows_flags=allows_flags))
    raise InvalidFilter("Properties are unparsable!")


def canonical(node: Node) -> str:
    """Return a text that is equal for equivalent trees, for hashes and cache keys.

    It ignores the order and repetition of children, groups within a group of the same kind, and groups of one child.
    """
    return _canonical(node).text


@dataclass(frozen=True, slots=True)
class _CanonicalNode:
    """The canonical text of a node, and if it is a group, its kind and its members by their texts."""

    text: str
    kind: type[Group] | None = None
    members: Mapping[str, "_CanonicalNode"] = field(default_factory=dict)


def _canonical(node: Node) -> _CanonicalNode:
    """Write each condition once, however deep it is: texts of groups are made of those of their members."""
    if isinstance(node, Condition):
        return _CanonicalNode(json.dumps(node.to_json(), sort_keys=True, separators=(",", ":")))
    kind = type(node)
    found: dict[str, _CanonicalNode] = {}
    for child in map(_canonical, node.children):
        found.update(child.members if child.kind is kind else {child.text: child})
    if len(found) == 1:
        return next(iter(found.values()))
    if not found:
        kind = Conjunction  # no restriction, for either kind of group
    members = {text: found[text] for text in sorted(found)}
    name = "AND" if kind is Conjunction else "OR"
    return _CanonicalNode(f'{{"type":"{name}","values":[{",".join(members)}]}}', kind, members)


def conditions_of(node: Node) -> Iterator[Condition]:
    """Yield the conditions of a filter, in their order."""
    if isinstance(node, Condition):
        yield node
        return
    for child in node.children:
        yield from conditions_of(child)


def _types_of(children: Sequence[Node]) -> frozenset[PropertyType]:
    return frozenset[PropertyType]().union(*(child.types for child in children))


def _from_text(text: str) -> object:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidFilter("Properties are unparsable!") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def conditions_written(document: object) -> Iterator[Mapping[str, object]]:
    """Yield the conditions of a filter as they were sent, in any form; those of what cannot be read are left out."""
    with suppress(InvalidFilter):
        document = _from_text(document) if isinstance(document, str) else document
    waiting = [document]
    while waiting:
        entry = waiting.pop()
        if isinstance(entry, list | tuple):
            waiting += reversed(entry)
        elif is_group(entry):
            waiting.append(entry["values"])
        elif isinstance(entry, Mapping):
            yield entry


def is_group(entry: object) -> TypeGuard[Mapping[str, object]]:
    """Whether an entry of a filter, as clients send it, is a group of others."""
    return isinstance(entry, Mapping) and "type" in entry and "values" in entry


def _parse_group(group: Mapping[str, object], depth: int, *, allows_flags: bool) -> Group:
    kind = str(group["type"]).upper()
    if kind not in {"AND", "OR"}:
        raise InvalidFilter(f"PropertyGroup is unparsable: {kind[:100]!r} is not a valid PropertyOperatorType")
    if depth > _DEEPEST_NESTING:
        raise InvalidFilter(f"PropertyGroup is unparsable: groups nest deeper than {_DEEPEST_NESTING} levels")
    values = group["values"] or []
    if not isinstance(values, list | tuple):
        raise InvalidFilter(f"PropertyGroup is unparsable: values must be a list, got {type(values).__name__}")
    if group.get("negation"):
        raise InvalidFilter("PropertyGroup is unparsable: a group has no negation, its conditions have")
    children = _parse_children(values, depth, allows_flags=allows_flags)
    return Conjunction(children) if kind == "AND" else Disjunction(children)


def _parse_children(values: Sequence[object], depth: int, *, allows_flags: bool) -> tuple[Node, ...]:
    groups = [entry for entry in values if is_group(entry)]
    if groups and len(groups) < len(values):
        raise InvalidFilter("Property list cannot contain both PropertyGroup and Property objects")
    if not groups:
        return _parse_conditions(values, allows_flags=allows_flags)
    parsed = [_parse_group(group, depth + 1, allows_flags=allows_flags) for group in groups]
    return tuple(group for group in parsed if group.children)


def _parse_conditions(entries: Sequence[object], *, allows_flags: bool) -> tuple[Condition, ...]:
    return tuple(_parse_condition(entry, allows_flags=allows_flags) for entry in entries)


def _parse_old_style(properties: Mapping[object, object]) -> Conjunction:
    if "key" in properties and not properties.keys().isdisjoint(_FIELDS_BESIDE_KEY):
        raise InvalidFilter('A property stands in a list: [{"key": ..., "value": ...}]')
    conditions = []
    for name, value in properties.items():
        key, *rest = str(name).split("__")
        if value is None and not (rest and rest[0] in NEEDS_NO_VALUE):
            raise InvalidFilter(f"Property {str(name)[:100]!r} needs a value")
        entry = {"key": key, "value": value, "operator": rest[0] if rest else None}
        conditions.append(_parse_condition(entry, allows_flags=False))
    return Conjunction(tuple(conditions))


def _parse_condition(entry: object, *, allows_flags: bool) -> Condition:
    if not isinstance(entry, Mapping):
        raise InvalidFilter(f"A property is an object, got {_shown(entry)}")
    key = entry.get("key")
    if not isinstance(key, str):
        raise InvalidFilter(f"A property needs a key, a text: {_shown(entry)}")
    try:
        property_type = _read_type(entry, allows_flags=allows_flags)
        operator = _read_operator(entry, property_type)
        # A value that was sent beside an operator without a value has no meaning.
        value = operator if operator in NEEDS_NO_VALUE else _frozen(entry.get("value"))
        condition = Condition(
            key,
            operator,
            value,
            property_type,
            _read_group_type_index(entry, property_type),
            negation=_read_negation(entry.get("negation")),
        )
        check_value(operator, value)
    except InvalidFilter as error:
        raise InvalidFilter(f"Property {key[:_SHOWN_CHARACTERS]!r}: {error.detail}", error.code) from error
    except (ValueError, TypeError, RecursionError) as error:  # a value that JSON does not support, such as NaN
        raise InvalidFilter(f"Property {key[:_SHOWN_CHARACTERS]!r}: the value is not JSON") from error
    return condition


def _read_type(entry: Mapping[str, object], *, allows_flags: bool) -> PropertyType:
    property_type = entry.get("type") or "event"
    if is_type(property_type) and (allows_flags or property_type != "flag"):
        return property_type
    known = ", ".join(name for name in TYPES if allows_flags or name != "flag")
    where = "can only be used in release conditions of flags" if property_type == "flag" else "is not known"
    raise InvalidFilter(f"the type {_shown(property_type)} {where}; known are {known}")


def _read_operator(entry: Mapping[str, object], property_type: PropertyType) -> Operator:
    known = operators_of(property_type)
    operator = entry.get("operator")
    if operator is None:
        return known[0]
    if is_operator(operator) and operator in known:
        return operator
    is_elsewhere = is_operator(operator) and operator in OPERATORS
    where = f"is not available for the type {property_type!r}" if is_elsewhere else "is not known"
    raise InvalidFilter(f"the operator {_shown(operator)} {where}; known are {', '.join(known)}")


def _read_group_type_index(entry: Mapping[str, object], property_type: PropertyType) -> int | None:
    index = entry.get("group_type_index")
    if index is None and property_type != "group":
        return None
    if type(index) is int and index in _GROUP_TYPES:
        return index
    raise InvalidFilter(f"group_type_index must be an integer from 0 to {_GROUP_TYPES[-1]}, got {_shown(index)}")


def _shown(value: object) -> str:
    try:
        shown = json.dumps(value, ensure_ascii=True)
    except (ValueError, TypeError, RecursionError):
        shown = f"a {type(value).__name__}"
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}..."


def _read_negation(flag: object) -> bool:
    text = str(flag).lower()
    if text not in _TRUE_TEXTS | _FALSE_TEXTS:
        raise InvalidFilter(f"negation must be true or false, got {_shown(flag)}")
    return text in _TRUE_TEXTS


def _frozen(value: object) -> Value:
    if isinstance(value, list | tuple):
        return tuple(_scalar(element) for element in value)
    return _scalar(value)


def _scalar(value: object) -> Scalar:
    """Return a scalar itself, and the JSON text of a container, which the text of a property is compared with."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return sorted_json(write_json(value))
