"""Checks typed metrics before they are stored, and lists those of an experiment."""

from collections.abc import Awaitable, Sequence

from app.common.errors import ValidationFailed
from app.http.fields import refusal
from app.metrics.queries.typed.schemas import TypedMetric
from app.properties.filters import InvalidFilter


def check_metrics(metrics: Sequence[TypedMetric] | None) -> Sequence[TypedMetric] | None:
    """Refuse metrics with one id."""
    ids = [metric.uuid for metric in metrics or ()]
    if len(set(ids)) < len(ids):
        raise refusal("Metrics must have different uuids.")
    return metrics


async def check_before_storing(attr: str, check: Awaitable[None]) -> None:
    """Run a check of a field's filters.

    Raises
    ------
    ValidationFailed
        With the field's name, where the check refuses a filter.
    """
    try:
        await check
    except InvalidFilter as error:
        raise ValidationFailed(error.detail, code=error.code, attr=attr) from error
