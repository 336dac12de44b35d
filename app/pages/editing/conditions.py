"""Conditions of a form: a property, an operator and a value each, and JSON for what these cannot say."""

import json
from collections.abc import Mapping
from typing import Any, Final

from pydantic import JsonValue

from app.pages.editing.rows import Row, is_one_line, read_json_object

Json = dict[str, Any]

OPERATORS: Final[Mapping[str, str]] = {
    "exact": "is",
    "is_not": "is not",
    "icontains": "contains",
    "not_icontains": "does not contain",
    "regex": "matches the pattern",
    "not_regex": "does not match the pattern",
    "gt": "is more than",
    "gte": "is at least",
    "lt": "is less than",
    "lte": "is at most",
    "is_date_before": "is before the date",
    "is_date_after": "is after the date",
    "is_set": "is set",
    "is_not_set": "is not set",
    "in_cohort": "is in the cohort with the number",
}
_IN_COHORT: Final = "in_cohort"
_WITHOUT_VALUE: Final = ("is_set", "is_not_set")
_OF_LISTS: Final = ("exact", "is_not")
_KNOWN: Final = frozenset({"key", "operator", "value", "type", "group_type_index", "negation"})


def read_condition(row: Row, group_type: int | None = None) -> Json | None:
    """Return the condition of a row, on persons or on groups of a type; None where the row is empty.

    A condition that stands in the row as it was stored comes back as it was stored.
    """
    if row.text("json"):
        return read_json_object(row, "json")
    key, operator, value = row.text("key"), row.text("operator") or "exact", row.text("value")
    stored = _stored(row)
    if stored is not None and write_condition(stored, group_type) == {
        "key": key,
        "operator": operator,
        "value": value,
        "was": row.text("was"),
    }:
        return stored
    if operator == _IN_COHORT:
        if (cohort := row.integer("value")) is None:
            row.refuse("value", "Give the number of the cohort.")
        return {"key": "id", "type": "cohort", "value": cohort}
    if not key:
        if value:
            row.refuse("key", "Name the property.")
        return None
    operator = operator if operator in OPERATORS else "exact"
    compared = _read_value(operator, value)
    if not compared:  # also of commas alone: no value is one of none, and every value is none of them
        row.refuse("value", "Give the value to compare with.")
    subject: Json = {"type": "person"} if group_type is None else {"type": "group", "group_type_index": group_type}
    return {"key": key, "operator": operator, "value": compared, **subject}


def write_condition(condition: JsonValue, group_type: int | None = None) -> dict[str, str]:
    """Return the fields of a stored condition, without their prefix."""
    text = json.dumps(condition, ensure_ascii=False)
    if not isinstance(condition, dict) or not condition.keys() <= _KNOWN or condition.get("negation"):
        return {"json": text}
    key, value = condition.get("key"), condition.get("value")
    operator, kind = condition.get("operator") or "exact", condition.get("type")
    is_cohort = kind == "cohort" and isinstance(value, int | str) and operator in {"exact", "in"}
    if is_cohort and is_one_line(str(value)):
        return {"key": "", "operator": _IN_COHORT, "value": str(value), "was": text}
    fits = kind == ("person" if group_type is None else "group") and condition.get("group_type_index") == group_type
    shown = _write_value(str(operator), value)
    if not fits or operator not in OPERATORS or not isinstance(key, str) or not is_one_line(key) or shown is None:
        return {"json": text}
    return {"key": key, "operator": str(operator), "value": shown, "was": text}


def _stored(row: Row) -> Json | None:
    try:
        found = json.loads(row.text("was") or "null")
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _read_value(operator: str, value: str) -> str | list[str]:
    if operator in _WITHOUT_VALUE:
        return operator
    return [one.strip() for one in value.split(",") if one.strip()] if operator in _OF_LISTS else value


def _write_value(operator: str, value: JsonValue) -> str | None:
    """Return a value as a text; None where the text would be read as another one."""
    if operator in _WITHOUT_VALUE:
        return ""
    listed = value if isinstance(value, list) and operator in _OF_LISTS else [value]
    texts = [_write_scalar(one) for one in listed]
    if any(not text or not is_one_line(text) for text in texts):
        return None
    known = [text for text in texts if text is not None]
    return None if operator in _OF_LISTS and any("," in text for text in known) else ", ".join(known)


def _write_scalar(value: JsonValue) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float | str) else None
