"""Reads which definitions a request asks for."""

import json
from typing import Final, get_args

from app.common.errors import ValidationFailed
from app.common.storable_json import is_storable_json
from app.events.definitions.names import EVENT, HIDDEN, PERSON, VOLUME_DAYS
from app.events.definitions.repository import EventChoice, EventOrder, PropertyChoice
from app.http.query_params import read_text

_MAX_TERMS: Final = 20
_MAX_NAMES: Final = 1_000
_EVENT_TYPES: Final[dict[str, bool | None]] = {
    "all": None,
    "event": None,
    "event_custom": False,
    "event_posthog": True,
}
_GROUP_INDEXES: Final = ("0", "1", "2", "3", "4")
_BOOLEANS: Final[dict[str, bool | None]] = {"": None, "true": True, "1": True, "false": False, "0": False}


def read_event_choice(search: str | None, event_type: str | None, ordering: str | None, today: int) -> EventChoice:
    """Return the choice of names of events; ``today`` is a day since 1970 UTC.

    Raises
    ------
    ValidationFailed
        When a parameter is not understood.
    """
    if event_type and event_type not in _EVENT_TYPES:
        actions = " Actions are listed by `actions/`." if event_type == "action_event" else ""
        raise ValidationFailed(
            f"event_type is one of {', '.join(_EVENT_TYPES)}, got {event_type[:100]!r}.{actions}", attr="event_type"
        )
    name = (ordering or "-volume_30_day").removeprefix("-")
    order = next((known for known in get_args(EventOrder) if known == name), None)
    if order is None:
        known = ", ".join(get_args(EventOrder))
        raise ValidationFailed(
            f"ordering is one of {known}, or with `-` before it, got {name[:100]!r}", attr="ordering"
        )
    return EventChoice(
        since=today - VOLUME_DAYS + 1,
        terms=_read_terms(search),
        is_predefined=_EVENT_TYPES[event_type or "event"],
        order=order,
        is_descending=not ordering or ordering.startswith("-"),
    )


def read_property_choice(
    search: str | None,
    subject: str | None,
    group_type_index: str | None,
    properties: str | None,
    excluded_properties: str | None,
    is_numerical: str | None,
    is_feature_flag: str | None,
    event_names: str | None,
    filter_by_event_names: str | None,
) -> PropertyChoice:
    """Return the choice of properties.

    Raises
    ------
    ValidationFailed
        When a parameter is not understood, or does not fit the others.
    """
    kind = _read_subject(subject or EVENT, group_type_index)
    events = _read_names(event_names, "event_names")
    if events and kind != EVENT:
        raise ValidationFailed("`event_names` can only be set for `event` type", attr="event_names")
    hidden = HIDDEN if kind == EVENT else ()
    only_of_events = _read_boolean(filter_by_event_names, "filter_by_event_names")
    return PropertyChoice(
        subject=kind,
        terms=_read_terms(search),
        names=_limited([name for name in (read_text(properties) or "").split(",") if name], "properties"),
        excluded=[*hidden, *_read_names(excluded_properties, "excluded_properties")],
        is_numerical=_read_boolean(is_numerical, "is_numerical") is True,
        is_feature_flag=_read_boolean(is_feature_flag, "is_feature_flag"),
        events=events,
        only_of_events=bool(events) and only_of_events is True,
    )


def _read_subject(kind: str, group_type_index: str | None) -> str:
    if kind not in {EVENT, PERSON, "group"}:
        raise ValidationFailed(f"type is one of event, person, group, got {kind[:100]!r}", attr="type")
    if kind != "group":
        if group_type_index:
            raise ValidationFailed("`group_type_index` can only be set for `group` type", attr="group_type_index")
        return kind
    if not group_type_index:
        raise ValidationFailed("`group_type_index` must be set for `group` type", attr="group_type_index")
    if group_type_index not in _GROUP_INDEXES:
        raise ValidationFailed("Invalid value for `group_type_index`", attr="group_type_index")
    return f"group_{group_type_index}"


def _read_terms(search: str | None) -> list[str]:
    terms = (read_text(search) or "").split()
    if len(terms) > _MAX_TERMS:
        raise ValidationFailed(f"search may have at most {_MAX_TERMS} words", attr="search")
    return terms


def _read_names(text: str | None, attr: str) -> list[str]:
    """Read a list of names, as JSON."""
    if not text:
        return []
    try:
        names = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValidationFailed("Value must be valid JSON.", attr=attr) from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or not is_storable_json(names):
        raise ValidationFailed(f"{attr} is a list of names", attr=attr)
    return _limited(names, attr)


def _limited(names: list[str], attr: str) -> list[str]:
    if len(names) > _MAX_NAMES:
        raise ValidationFailed(f"{attr} may have at most {_MAX_NAMES:,} names", attr=attr)
    return names


def _read_boolean(text: str | None, attr: str) -> bool | None:
    value = (text or "").lower()
    if value not in _BOOLEANS:
        raise ValidationFailed(f"{attr} is true or false, got {value[:100]!r}", attr=attr)
    return _BOOLEANS[value]
