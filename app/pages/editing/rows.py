"""Fields of a form that belong together, and the errors that are shown beside them."""

import json
import math
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from app.common.errors import ValidationFailed

Fields = Mapping[str, str]

_LARGEST: Final = 1e9
_NOT_A_NUMBER: Final = "This has to be a number."


class Row:
    """The fields of a form whose names begin alike. It collects errors by the whole name of a field."""

    def __init__(self, fields: Fields, prefix: str, errors: dict[str, str]) -> None:
        self._fields = fields
        self.prefix = prefix
        self._errors = errors

    def text(self, name: str) -> str:
        return self._fields.get(self.prefix + name, "").strip()

    def required(self, name: str, detail: str) -> str:
        value = self.text(name)
        if not value:
            self.refuse(name, detail)
        return value

    def refuse(self, name: str, detail: str) -> None:
        self._errors.setdefault(self.prefix + name, detail)

    def number(self, name: str) -> float | None:
        """Return a number; None where the field is empty, or where it is no number, which is an error."""
        text = self.text(name).replace("\N{MINUS SIGN}", "-")
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or "_" in text:
            self.refuse(name, _NOT_A_NUMBER)
            return None
        return value

    def percentage(self, name: str) -> float | None:
        """Return a number from 0 to 100; None where the field is empty, or holds another one, which is an error."""
        value = self.number(name)
        if value is None or 0 <= value <= 100:
            return value
        self.refuse(name, "This has to be a number from 0 to 100.")
        return None

    def share(self, name: str) -> float | None:
        """Return a number in percent as a share."""
        value = self.number(name)
        return None if value is None else round(value / 100, 12)

    def integer(self, name: str) -> int | None:
        value = self.number(name)
        if value is not None and (not value.is_integer() or abs(value) > _LARGEST):
            self.refuse(name, "This has to be a whole number.")
            return None
        return None if value is None else int(value)


def count_rows(fields: Fields, kind: str) -> int:
    """Return how many rows of a kind a form has: one more than the last index among its names."""
    pattern = _index_of(kind)
    found = [int(match[1]) for name in fields if (match := pattern.match(name))]
    return max(found, default=-1) + 1


def without_row(fields: Fields, kind: str, index: int) -> dict[str, str]:
    """Return the fields without one row; those behind it move up."""
    kept, pattern = {}, _index_of(kind)
    for name, value in fields.items():
        match = pattern.match(name)
        if match is None or int(match[1]) < index:
            kept[name] = value
        elif int(match[1]) > index:
            kept[f"{kind}{int(match[1]) - 1}{name[match.end() :]}"] = value
    return kept


def change_rows(fields: Fields, kind: str, first: str, most: int) -> dict[str, str] | None:
    """Return the fields after a button that adds a row with the field ``first``, or removes one; None for others."""
    verb, _, row = fields.get("do", "").partition("-")
    count, index = count_rows(fields, kind), row.removeprefix(kind)
    if verb == "add" and row == kind:
        return {**fields, f"{kind}{count}_{first}": ""} if count < most else dict(fields)
    if verb == "remove" and row.startswith(kind) and index.isdecimal() and len(index) < 3:
        return without_row(fields, kind, int(index))
    return None


def without_rows(fields: Fields, kind: str) -> dict[str, str]:
    """Return the fields without the rows of a kind."""
    pattern = _index_of(kind)
    return {name: value for name, value in fields.items() if not pattern.match(name)}


def as_one_line(text: str) -> str:
    """Return what comes back of a text in a field of one line: no line breaks, and no blanks at its ends."""
    return text.replace("\r", "").replace("\n", "").strip()


def is_one_line(text: str) -> bool:
    """Whether a field of one line sends a text back as it is."""
    return text == as_one_line(text)


def keep_text(read: str | None, stored: str | None, *, lines: bool = False) -> str | None:
    """Return the stored text where a field shows nothing else; browsers send line breaks of ``lines`` in their way."""

    def shown(text: str | None) -> str:
        return "\n".join((text or "").strip().splitlines()) if lines else as_one_line(text or "")

    return stored if shown(read) == shown(stored) else read


def read_json_object(row: Row, name: str) -> dict[str, Any]:
    """Return the JSON object of a field; an empty one where it holds none, which is an error."""
    try:
        found = json.loads(row.text(name) or "{}")
    except (ValueError, RecursionError) as error:
        row.refuse(name, f"This is not JSON: {error}")
        return {}
    if not isinstance(found, dict) or not found:
        row.refuse(name, "This has to be a JSON object.")
        return {}
    return found


@cache
def _index_of(kind: str) -> re.Pattern[str]:
    """Return what matches the beginning of the names of a kind's fields; rows of others may be nested in its rows."""
    return re.compile(rf"{kind}(\d{{1,2}})(?=[a-z_])")


def write_number(value: float | None) -> str:
    """Return a number as a field holds it; nothing for one that is larger than any field may say."""
    try:
        return "" if value is None else f"{value:.12g}"
    except OverflowError:  # of a whole number, which JSON may write with thousands of digits
        return ""


def as_json_number(number: float) -> int | float:
    """Return a whole number as one, as clients write it."""
    return int(number) if float(number).is_integer() else number


def errors_beside(refusal: ValidationFailed, places: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an error of the API beside the field that it is about, which ``places`` has if it is called otherwise."""
    name = (refusal.attr or "form").partition("__")[0]
    return {(places or {}).get(name, name): refusal.detail}
