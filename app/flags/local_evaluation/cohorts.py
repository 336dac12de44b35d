"""The criteria of cohorts as evaluators inside SDKs read them.

A cohort holds the same persons wherever it is used: its criteria compare texts with their case. Evaluators compare them
without it, so criteria about texts with letters are written as regular expressions, which keep it.
"""

import re
from collections.abc import Mapping
from typing import Final

from pydantic import JsonValue

from app.flags.filters import JsonDict
from app.flags.local_evaluation.evaluators import condition_for_evaluators

CohortDefinitions = Mapping[int, JsonValue]

_PATTERN_OF: Final = {"exact": "regex", "is_not": "not_regex"}


def criteria_for_evaluators(criteria: JsonValue) -> JsonValue:
    """Return the criteria; None where evaluators have no word for a part of them."""
    if not isinstance(criteria, dict):
        return None
    if "values" not in criteria:
        return _condition(criteria)
    values = criteria["values"]
    written = [criteria_for_evaluators(value) for value in values] if isinstance(values, list) else [None]
    understood: list[JsonValue] = [value for value in written if value is not None]
    return {**criteria, "values": understood} if len(understood) == len(written) else None


def plain_conditions(criteria: JsonValue) -> list[JsonDict] | None:
    """Return the conditions of a cohort if they are on properties and must all hold; None for other criteria."""
    written = criteria_for_evaluators(criteria)
    return _plain(written) if isinstance(written, dict) else None


def _plain(criteria: JsonDict) -> list[JsonDict] | None:
    values = criteria.get("values")
    if criteria.get("type") != "AND" or not isinstance(values, list):
        return None
    conditions: list[JsonDict] = []
    for value in values:
        if not isinstance(value, dict):
            return None
        nested = _plain(value) if "values" in value else [value] if value.get("type") == "person" else None
        if nested is None:
            return None
        conditions += nested
    return conditions or None


def _condition(entry: JsonDict) -> JsonDict | None:
    if entry.get("type") == "cohort":  # evaluators of all ages read the negation of a condition inside a cohort
        is_excluding = (entry.get("operator") in {"is_not", "not_in"}) != bool(entry.get("negation"))
        return {**{name: value for name, value in entry.items() if name != "operator"}, "negation": is_excluding}
    condition = condition_for_evaluators(entry)
    if condition is None:
        return None
    operator = str(condition.get("operator") or "exact")
    value = condition.get("value")
    values = value if isinstance(value, list) else [value]
    if operator not in _PATTERN_OF or not any(map(_has_case, values)):
        return condition
    texts = [one for one in values if isinstance(one, str) and not _is_of_another_type(one)]
    if len(texts) < len(values):
        return None
    pattern = f"^(?:{'|'.join(map(re.escape, texts))})$"
    return {**condition, "operator": _PATTERN_OF[operator], "value": pattern}


def _has_case(value: JsonValue) -> bool:
    is_text = isinstance(value, str) and not _is_of_another_type(value)
    return is_text and str(value).lower() != str(value).upper()


def _is_of_another_type(text: str) -> bool:
    """Whether a text equals a truth value or a number, in whatever form that has."""
    if text.lower() in {"true", "false", "null"}:
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True
