"""Property filters as trees of conditions, parsed from the forms in which clients send them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, TypeGuard, get_args

from app.common.json_text import write_json

Operator: TypeAlias = Literal[
    "exact",
    "is_not",
    "icontains",
    "not_icontains",
    "regex",
    "not_regex",
    "gt",
    "gte",
    "lt",
    "lte",
    "is_set",
    "is_not_set",
    "is_date_exact",
    "is_date_before",
    "is_date_after",
]
PropertyType: TypeAlias = Literal[
    "event", "person", "group", "cohort", "static-cohort", "precalculated-cohort", "element", "session"
]
Scalar: TypeAlias = bool | int | float | str | None
Value: TypeAlias = Scalar | tuple[Scalar, ...]
Node: TypeAlias = "Condition | Conjunction | Disjunction"
Group: TypeAlias = "Conjunction | Disjunction"
Json: TypeAlias = "Scalar | list[Json] | dict[str, Json]"

_OPERATORS: Final[frozenset[str]] = frozenset(get_args(Operator))
_TYPES: Final[frozenset[str]] = frozenset(get_args(PropertyType))
_NEEDS_NO_VALUE: Final = frozenset({"is_set", "is_not_set"})
_TRUE_TEXTS: Final = frozenset({"y", "yes", "t", "true", "on", "1"})
_GROUP_TYPES: Final = range(5)
_DEEPEST_NESTING: Final = 20


class InvalidFilter(ValueError):
    """An invalid filter; ``detail`` and ``code`` explain it to the client."""

    def __init__(self, detail: str, code: str = "invalid_input") -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code


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


def parse_filter(value: object) -> Group:
    """Parse a property filter in any form that clients send.

    Parameters
    ----------
    value : JSON value or JSON text
        - a list of properties: all of them must match. Invalid entries are skipped silently;
        - ``{"type": "AND" | "OR", "values": [...]}``: the values are all groups or all properties;
        - ``{"key": value, "key__operator": value}``: all of these event properties must match;
        - the JSON text of one of these;
        - None or an empty value: no restriction.

        A property is ``{"key", "value", "operator", "type", "group_type_index", "negation"}``. The operator defaults to
        ``exact``, even if it is unknown; the type to ``event``. ``is_set`` and ``is_not_set`` need no value.

    Raises
    ------
    InvalidFilter
        When a text is not JSON, a list mixes groups and properties, or the type of a group is not AND or OR.
    """
    document = _from_text(value) if isinstance(value, str) else value
    if document is None:
        return Conjunction()
    if isinstance(document, Mapping):
        if is_group(document):
            return _parse_group(document, depth=1)
        return _parse_old_style(document)
    if isinstance(document, list | tuple):
        return Conjunction(_parse_conditions(document))
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


def is_group(entry: object) -> TypeGuard[Mapping[str, object]]:
    """Whether an entry of a filter, as clients send it, is a group of others."""
    return isinstance(entry, Mapping) and "type" in entry and "values" in entry


def _parse_group(group: Mapping[str, object], depth: int) -> Group:
    kind = str(group["type"]).upper()
    if kind not in {"AND", "OR"}:
        raise InvalidFilter(f"PropertyGroup is unparsable: {kind[:100]!r} is not a valid PropertyOperatorType")
    if depth > _DEEPEST_NESTING:
        raise InvalidFilter(f"PropertyGroup is unparsable: groups nest deeper than {_DEEPEST_NESTING} levels")
    values = group["values"] or []
    if not isinstance(values, list | tuple):
        raise InvalidFilter(f"PropertyGroup is unparsable: values must be a list, got {type(values).__name__}")
    children = _parse_children(values, depth)
    return Conjunction(children) if kind == "AND" else Disjunction(children)


def _parse_children(values: Sequence[object], depth: int) -> tuple[Node, ...]:
    groups = [entry for entry in values if is_group(entry)]
    if groups and len(groups) < len(values):
        raise InvalidFilter("Property list cannot contain both PropertyGroup and Property objects")
    if not groups:
        return _parse_conditions(values)
    parsed = (_parse_group(group, depth + 1) for group in groups)
    return tuple(group for group in parsed if group.children)


def _parse_conditions(entries: Sequence[object]) -> tuple[Condition, ...]:
    conditions = (_parse_condition(entry) for entry in entries)
    return tuple(condition for condition in conditions if condition is not None)


def _parse_old_style(properties: Mapping[object, object]) -> Conjunction:
    conditions = []
    for name, value in properties.items():
        key, *rest = str(name).split("__")
        condition = _parse_condition({"key": key, "value": value, "operator": rest[0] if rest else None})
        if condition is None:
            raise InvalidFilter(f"Property {str(name)[:100]!r} needs a value")
        conditions.append(condition)
    return Conjunction(tuple(conditions))


def _parse_condition(entry: object) -> Condition | None:
    """Parse a property; None if it is invalid."""
    if not isinstance(entry, Mapping):
        return None
    key = entry.get("key")
    property_type = entry.get("type") or "event"
    sent_operator = entry.get("operator")
    operator: Operator = sent_operator if _is_operator(sent_operator) else "exact"
    value = entry.get("value")
    if not isinstance(key, str) or not _is_type(property_type):
        return None
    if operator in _NEEDS_NO_VALUE:
        value = operator  # a value that was sent has no meaning
    group_type_index = entry.get("group_type_index")
    if value is None or not _fits_the_type(group_type_index, property_type):
        return None
    try:
        return Condition(
            key, operator, _frozen(value), property_type, group_type_index, negation=_is_true(entry.get("negation"))
        )
    except (ValueError, TypeError, RecursionError):  # a value that JSON does not support, such as NaN
        return None


def _fits_the_type(group_type_index: object, property_type: PropertyType) -> TypeGuard[int | None]:
    if group_type_index is None:
        return property_type != "group"
    return type(group_type_index) is int and group_type_index in _GROUP_TYPES


def _is_operator(operator: object) -> TypeGuard[Operator]:
    return isinstance(operator, str) and operator in _OPERATORS


def _is_type(property_type: object) -> TypeGuard[PropertyType]:
    return isinstance(property_type, str) and property_type in _TYPES


def _is_true(flag: object) -> bool:
    return flag is not None and str(flag).lower() in _TRUE_TEXTS


def _frozen(value: object) -> Value:
    if isinstance(value, list | tuple):
        return tuple(_scalar(element) for element in value)
    return _scalar(value)


def _scalar(value: object) -> Scalar:
    """Return a scalar itself, and the JSON text of a container, which the text form of a property is compared with."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return write_json(value)
