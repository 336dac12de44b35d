"""Reads which insight a request asks for; what would change its figures and is not understood is refused."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from app.common import limits
from app.common.errors import ValidationFailed
from app.metrics.facts.matching import MAX_KEY_CHARACTERS
from app.metrics.queries.breakdown import BREAKDOWN_TYPES
from app.metrics.queries.entities import Filters
from app.metrics.queries.insights import ValueBreakdown
from app.metrics.queries.parsing import Insight
from app.properties.budget import FilterBudget
from app.properties.filters import Group, InvalidFilter, parse_filter

DEFAULT_VALUES: Final = 25
LINE: Final = "ActionsLineGraph"
CUMULATIVE: Final = "ActionsLineGraphCumulative"
_DISPLAYS: Final[Mapping[Insight, tuple[str, ...]]] = {
    "TRENDS": (LINE, "ActionsBar", CUMULATIVE),
    "FUNNELS": ("FunnelViz",),
}


def _is_off(value: JsonValue) -> bool:
    return value in (None, "", False, "false", 0, "0", [], "[]", {})


# What clients of 2022 may ask for beside what is counted here: the values that change nothing.
_HARMLESS: Final[Mapping[str, Callable[[JsonValue], bool]]] = {
    "formula": _is_off,
    "compare": _is_off,
    "breakdowns": _is_off,
    "breakdown_normalize_url": _is_off,
    "breakdown_histogram_bin_count": _is_off,
    "shown_as": lambda value: _is_off(value) or value == "Volume",
    "smoothing_intervals": lambda value: _is_off(value) or value in (1, "1"),
    "funnel_viz_type": lambda value: _is_off(value) or value == "steps",
    "sampling_factor": lambda value: _is_off(value) or value in (1, "1"),
}


@dataclass(frozen=True)
class InsightRequest:
    """What a request asks for.

    Attributes
    ----------
    filters : mapping
        All that was sent, from which the series or steps are read.
    restriction : Group
        The filter that all events have to pass.
    lists_values : bool
        Whether the breakdown was sent as a list: then its values are answered as lists.
    """

    filters: Filters
    restriction: Group
    display: str
    date_from: str
    date_to: str
    breakdown: ValueBreakdown | None
    lists_values: bool


def read_request(kind: Insight, filters: Filters) -> InsightRequest:
    """Return what a request asks for.

    Raises
    ------
    ValidationFailed
        When a part of it is not understood.
    """
    if (given := filters.get("insight")) and str(given).upper() != kind:
        raise ValidationFailed(f"insight is {kind} here, got {str(given)[:100]!r}", attr="insight")
    for name, is_harmless in _HARMLESS.items():
        if not is_harmless(filters.get(name)):
            raise ValidationFailed(f"{name} is not supported", attr=name)
    breakdown, lists_values = _read_breakdown(filters)
    return InsightRequest(
        filters=filters,
        restriction=_read_restriction(filters.get("properties")),
        display=_read_display(filters.get("display"), kind),
        date_from=_read_text(filters, "date_from"),
        date_to=_read_text(filters, "date_to"),
        breakdown=breakdown,
        lists_values=lists_values,
    )


def _read_display(value: JsonValue, kind: Insight) -> str:
    known = _DISPLAYS[kind]
    if not value:
        return known[0]
    if value not in known:
        raise ValidationFailed(f"display is one of {', '.join(known)}, got {str(value)[:100]!r}", attr="display")
    return str(value)


def _read_restriction(value: JsonValue) -> Group:
    try:
        FilterBudget().count(value)
        return parse_filter(value)
    except InvalidFilter as error:
        raise ValidationFailed(error.detail, code=error.code, attr="properties") from error


def _read_text(filters: Filters, name: str) -> str:
    value = filters.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValidationFailed("Not a valid string.", attr=name)
    return value


def _read_breakdown(filters: Filters) -> tuple[ValueBreakdown | None, bool]:
    """Return the breakdown, if there is one, and whether it was sent as a list."""
    value = filters.get("breakdown")
    if isinstance(value, str) and value.startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise ValidationFailed("Value must be valid JSON.", attr="breakdown") from error
    if value is None or value in ("", []):
        return None, False
    name = value[0] if isinstance(value, list) and len(value) == 1 else value
    if not isinstance(name, str) or not 0 < len(name) <= MAX_KEY_CHARACTERS or "\0" in name:
        detail = f"breakdown is the name of one property, of 1 to {MAX_KEY_CHARACTERS} characters"
        raise ValidationFailed(detail, attr="breakdown")
    sent = filters.get("breakdown_type") or "event"
    known = next((one for one in BREAKDOWN_TYPES if one == sent), None)
    if known is None:
        detail = f"breakdown_type is one of {', '.join(BREAKDOWN_TYPES)}, got {str(sent)[:100]!r}"
        raise ValidationFailed(detail, attr="breakdown_type")
    return ValueBreakdown(name, known, _read_limit(filters.get("breakdown_limit"))), isinstance(value, list)


def _read_limit(value: JsonValue) -> int:
    if value is None or value == "":
        return DEFAULT_VALUES
    text = str(value)
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
    if not 1 <= number <= limits.BREAKDOWN_VALUES.value:
        raise ValidationFailed(
            f"breakdown_limit is a whole number from 1 to {limits.BREAKDOWN_VALUES.value}", attr="breakdown_limit"
        )
    return number
