"""The settings of statistics of an experiment that is copied from PostHog, as those of this API."""

from collections.abc import Mapping
from typing import Final

from app.http.fields import refusal
from app.http.unknown_names import unknown_fields

# About how PostHog computes, not about what.
_BOOKKEEPING: Final = frozenset({"version", "timeseries", "use_new_query_builder"})
# What says how certain an interval is, by the method that it is for.
_LEVELS: Final = {"bayesian": "ci_level", "frequentist": "alpha"}


def read_copied_settings(document: object) -> object:
    """Return settings with a ``confidence_level`` in place of that of the method in PostHog's words.

    The settings of the other method have no effect. What is about PostHog's engine is left out.
    """
    if not isinstance(document, Mapping) or not document.keys() & {*_BOOKKEEPING, *_LEVELS}:
        return document
    own = {name: value for name, value in document.items() if name not in _BOOKKEEPING and name not in _LEVELS}
    for method, key in _LEVELS.items():
        level = _level(document.get(method), method, key)
        if level is None or method != own.get("method", "bayesian"):
            continue
        level = level if key == "ci_level" else round(1 - level, 12)
        if own.setdefault("confidence_level", level) not in (level, None):  # null is refused as such
            raise refusal(f"`confidence_level` and `{method}.{key}` say different things: send one of them.")
    return own


def _level(part: object, method: str, key: str) -> float | None:
    if part is None:
        return None
    if not isinstance(part, Mapping):
        raise refusal(f"`{method}` is an object with `{key}`.")
    if unknown := [name for name in part if name != key]:
        raise unknown_fields(unknown, [key], inside=[method])
    level = part.get(key)
    if level is None:
        return None
    if isinstance(level, bool) or not isinstance(level, int | float) or not 0 < level < 1:
        raise refusal(f"`{method}.{key}` is a number between 0 and 1.")
    return float(level)
