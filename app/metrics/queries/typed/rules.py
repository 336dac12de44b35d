"""What experiments decide about how their typed metrics are counted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

DEFAULT_LOOKBACK: Final = 14  # days
DEFAULT_CONFIDENCE: Final = 0.95


@dataclass(frozen=True)
class TypedRules:
    """What an experiment decides about its typed metrics.

    ``only_matured``: persons count when their conversion window is over. ``lookback_days``: means, ratios and ordered
    funnels get a covariate, the same value of the days before the exposure. ``confidence``: of the order statistics of
    quantiles.
    ``excluded``: variants that are not compared, which caps of outliers do not depend on.
    """

    only_matured: bool = False
    lookback_days: int | None = None
    confidence: float = DEFAULT_CONFIDENCE
    excluded: Sequence[str] = ()


def excluded_variants(settings: Mapping[str, JsonValue] | None) -> frozenset[str]:
    """Return the variants that statistics and the test of the split leave out."""
    listed = (settings or {}).get("excluded_variants")
    return frozenset(key for key in listed if isinstance(key, str)) if isinstance(listed, list) else frozenset()


def read_lookback(stats_config: Mapping[str, JsonValue] | None, default: Mapping[str, JsonValue] | None) -> int | None:
    """Return the days before the exposure that metrics are adjusted by; None where they are not.

    ``stats_config`` decides if it has a setting ``cuped``, also one that is null; else the project's default does.
    """
    cuped = (stats_config or {}).get("cuped", default)
    if not isinstance(cuped, Mapping) or not cuped.get("enabled", True):
        return None
    days = cuped.get("lookback_days", DEFAULT_LOOKBACK)
    return days if isinstance(days, int) else DEFAULT_LOOKBACK


def read_confidence(stats_config: Mapping[str, JsonValue] | None) -> float:
    """Return the confidence level of an experiment's intervals."""
    level = (stats_config or {}).get("confidence_level")
    is_level = isinstance(level, int | float) and not isinstance(level, bool) and 0 < level < 1
    return float(level) if is_level and isinstance(level, int | float) else DEFAULT_CONFIDENCE
