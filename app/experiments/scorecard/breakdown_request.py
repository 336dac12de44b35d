"""Reads which breakdown of an analysis a request asks for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from app.common import limits
from app.common.errors import ValidationFailed
from app.metrics.facts.matching import MAX_KEY_CHARACTERS
from app.metrics.queries.breakdown import BREAKDOWN_TYPES, BROKEN_DOWN_BY, Breakdown

DEFAULT_VALUES = 20

Choice = TypeVar("Choice", bound=str)


@dataclass(frozen=True)
class AskedBreakdown:
    """A breakdown that a request asks for, and the metric."""

    metric_id: str
    breakdown: Breakdown


def read_breakdown(
    name: str | None, kind: str | None, by: str | None, limit: str | None, metric: str | None
) -> AskedBreakdown | None:
    """Return the breakdown that a request asks for, if any.

    Raises
    ------
    ValidationFailed
        When one of its parameters is not understood, or stands without the property.
    """
    others = {"breakdown_type": kind, "breakdown_by": by, "limit": limit, "metric": metric}
    if name is None:
        alone = next((key for key, value in others.items() if value is not None), None)
        if alone is not None:
            raise ValidationFailed(f"`{alone}` needs `breakdown`, the name of a property.", attr=alone)
        return None
    if not 0 < len(name) <= MAX_KEY_CHARACTERS or "\0" in name:
        detail = f"The name of a property has 1 to {MAX_KEY_CHARACTERS} characters, none of them NUL."
        raise ValidationFailed(detail, attr="breakdown")
    most = limits.BREAKDOWN_VALUES
    number = int(limit) if limit is not None and limit.isascii() and limit.isdigit() and len(limit) < 9 else 0
    if limit is not None and not 1 <= number <= most.value:
        raise ValidationFailed(most.detail, attr="limit")
    return AskedBreakdown(
        "primary" if metric is None else metric,
        Breakdown(
            name,
            _read_choice("breakdown_type", kind, BREAKDOWN_TYPES, "event"),
            _read_choice("breakdown_by", by, BROKEN_DOWN_BY, "exposure"),
            number or DEFAULT_VALUES,
        ),
    )


def _read_choice(name: str, text: str | None, choices: Sequence[Choice], default: Choice) -> Choice:
    known = next((known for known in choices if known == text), default if text is None else None)
    if known is None:
        detail = f"`{name}` must be one of {', '.join(choices)}, got {(text or '')[:100]!r}"
        raise ValidationFailed(detail, attr=name)
    return known
