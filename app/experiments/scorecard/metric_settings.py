"""The settings of secondary metrics: which words and numbers are known, and which of a metric are not understood."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, get_args

from pydantic import JsonValue

from app.statistics.results import Goal

_MARGIN: Final = "non_inferiority_margin"
_LARGEST_MARGIN: Final = 10
_SHOWN_CHARACTERS: Final = 40
# A metric of the list cannot be the target metric.
_WORDS: Final[Mapping[str, Sequence[str]]] = {"role": ("secondary", "guardrail"), "goal": get_args(Goal)}


@dataclass(frozen=True)
class UnknownSetting:
    """A setting of the secondary metric at an index that is not understood."""

    index: int
    field: str
    detail: str


def unknown_settings(metrics: JsonValue) -> Iterator[UnknownSetting]:
    """Yield the settings of secondary metrics that are not understood; null means that a setting is not given."""
    for index, metric in enumerate(metrics if isinstance(metrics, list) else ()):
        if not isinstance(metric, dict):
            continue
        for field, words in _WORDS.items():
            if metric.get(field) is not None and metric[field] not in words:
                known = ", ".join(words)
                detail = f"{_show(metric[field])} is not a {field} of secondary metric {index}; known are {known}."
                yield UnknownSetting(index, field, detail)
        if metric.get(_MARGIN) is not None and not _is_margin(metric[_MARGIN]):
            detail = (
                f"{_show(metric[_MARGIN])} is not a {_MARGIN} of secondary metric {index}; "
                f"it is a number from 0 to {_LARGEST_MARGIN}."
            )
            yield UnknownSetting(index, _MARGIN, detail)


def _is_margin(value: JsonValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LARGEST_MARGIN


def _show(value: JsonValue) -> str:
    return ascii(value if not isinstance(value, str) else value[:_SHOWN_CHARACTERS])[: _SHOWN_CHARACTERS * 2]
