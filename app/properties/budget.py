"""What a document with property filters may hold: its size, and its conditions, values and regular expressions.

A document is counted as it was sent, before it is parsed. One that is stored and exceeds a limit, because it is older
than the limit, is still read: only what is stored or analyzed anew is counted.
"""

import json
from collections.abc import Mapping
from typing import Final

from app.common import limits
from app.common.limits import Limit
from app.properties.errors import InvalidFilter
from app.properties.filters import Condition, Node, conditions_of, is_group

_PATTERNS: Final = frozenset({"regex", "not_regex"})
_SMALLEST_PATTERN: Final = 64  # bytes, for the time that even the shortest one takes to compile


def exceeded(limit: Limit, code: str) -> InvalidFilter:
    """Return the refusal of what exceeds a limit."""
    return InvalidFilter(limit.detail, code)


def check_size(*documents: object) -> None:
    """Refuse documents that are too large together, as JSON.

    Raises
    ------
    InvalidFilter
        With the code ``too_large``.
    """
    if sum(map(size_of, documents)) > limits.DOCUMENT_BYTES.value:
        raise exceeded(limits.DOCUMENT_BYTES, "too_large")


def size_of(document: object) -> int:
    """Return the bytes of a document as JSON."""
    try:
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    except RecursionError as error:
        raise InvalidFilter("Value must be valid JSON.") from error
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))


class FilterBudget:
    """Counts what the filters of one document hold together."""

    def __init__(self) -> None:
        self._conditions = 0
        self._pattern_bytes = 0

    def count(self, properties: object) -> None:
        """Count a filter in any form that `parse_filter` reads; one that cannot be read counts as empty.

        Raises
        ------
        InvalidFilter
            As soon as the filters counted so far exceed a limit.
        """
        document = _from_text(properties) if isinstance(properties, str) else properties
        if is_group(document) or isinstance(document, list | tuple):
            self._count_entries(document)
        elif isinstance(document, Mapping):  # {"key__operator": value}
            for name, value in document.items():
                self._count_condition({"value": value, "operator": str(name).partition("__")[2].partition("__")[0]})

    def count_parsed(self, tree: Node) -> None:
        """Count a parsed filter."""
        for condition in conditions_of(tree):
            self._count_condition(_as_sent(condition))

    def add_condition(self) -> None:
        """Count something that is tested as a condition is."""
        self._conditions += 1
        if self._conditions > limits.CONDITIONS.value:
            raise exceeded(limits.CONDITIONS, "too_many_conditions")

    def add_pattern(self, text: str) -> None:
        """Count a text that is compiled as a regular expression."""
        length = len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
        self._pattern_bytes += max(length, _SMALLEST_PATTERN)
        if self._pattern_bytes > limits.PATTERN_BYTES.value:
            raise exceeded(limits.PATTERN_BYTES, "too_many_patterns")

    def _count_entries(self, document: object) -> None:
        waiting = [document] if is_group(document) else list(document) if isinstance(document, list | tuple) else []
        while waiting:
            entry = waiting.pop()
            if is_group(entry):
                values = entry["values"]
                waiting += values if isinstance(values, list | tuple) else []
            elif isinstance(entry, Mapping):
                self._count_condition(entry)

    def _count_condition(self, entry: Mapping[str, object]) -> None:
        self.add_condition()
        value = entry.get("value")
        values = value if isinstance(value, list | tuple) else [value]
        if len(values) > limits.CONDITION_VALUES.value:
            raise exceeded(limits.CONDITION_VALUES, "too_many_values")
        operator = entry.get("operator")
        if entry.get("type") == "element" or (isinstance(operator, str) and operator in _PATTERNS):
            for item in values:
                self.add_pattern(item if isinstance(item, str) else "")


def _as_sent(condition: Condition) -> Mapping[str, object]:
    return {"value": condition.value, "operator": condition.operator, "type": condition.type}


def _from_text(text: str) -> object:
    if len(text) > limits.DOCUMENT_BYTES.value:
        raise exceeded(limits.DOCUMENT_BYTES, "too_large")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
