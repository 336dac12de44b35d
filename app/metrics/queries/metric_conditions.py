"""Validation of the conditions of a metric before it is stored."""

from collections.abc import Iterator, Mapping

from app.common.time_slices import TimeSlices
from app.metrics.queries.metric_limits import ENTITY_LISTS, check_metric_limits, check_secondary_metrics, entries_of
from app.properties.filters import parse_filter
from app.properties.validation import compile_patterns, validate_filter


async def check_conditions(filters: object, slices: TimeSlices | None = None) -> None:
    """Refuse conditions of a metric that are not understood, in slices of time; what else it holds may be a draft.

    Raises
    ------
    InvalidFilter
        It names the condition. Its ``code`` names the limit that a metric exceeds.
    """
    check_metric_limits(filters)
    slices = slices or TimeSlices()
    for properties in _properties_in(filters):
        tree = parse_filter(properties)
        await compile_patterns([tree])
        validate_filter(tree)
        if slices.are_over():
            await slices.pause()


async def check_secondary_conditions(metrics: object) -> None:
    """Refuse conditions of secondary metrics that are not understood; see `check_conditions`."""
    check_secondary_metrics(metrics)
    slices = TimeSlices()
    for metric in metrics if isinstance(metrics, list) else ():
        await check_conditions(metric.get("filters") if isinstance(metric, Mapping) else None, slices)


def _properties_in(filters: object) -> Iterator[object]:
    if not isinstance(filters, Mapping):
        return
    for entry in (entry for key in ENTITY_LISTS for entry in entries_of(filters.get(key))):
        if isinstance(entry, Mapping):
            yield entry.get("properties")
