"""How large the filters of a metric may be, whether they are stored or only analyzed."""

import json
from collections.abc import Mapping, Sequence

from app.common import limits
from app.properties.budget import FilterBudget, check_size, exceeded

_STEPS = ("events", "actions")
_EXCLUSIONS = "exclusions"
ENTITY_LISTS = (*_STEPS, _EXCLUSIONS)


def check_metric_limits(filters: object) -> None:
    """Refuse a metric that has too many or too large parts; one that cannot be read is refused elsewhere.

    Raises
    ------
    InvalidFilter
        Its ``code`` names the limit.
    """
    if not isinstance(filters, Mapping):
        return
    check_size(filters)
    lists = {key: entries_of(filters.get(key)) for key in ENTITY_LISTS}
    if max(sum(len(lists[key]) for key in _STEPS), len(lists[_EXCLUSIONS])) > limits.FUNNEL_STEPS.value:
        raise exceeded(limits.FUNNEL_STEPS, "too_many_steps")
    budget = FilterBudget()
    for entry in (entry for entries in lists.values() for entry in entries):
        if isinstance(entry, Mapping):
            budget.count(entry.get("properties"))


def check_secondary_metrics(metrics: object) -> None:
    """Refuse too many secondary metrics, and one that is too large.

    Raises
    ------
    InvalidFilter
        Its ``code`` names the limit.
    """
    if not isinstance(metrics, list):
        return
    if len(metrics) > limits.SECONDARY_METRICS.value:
        raise exceeded(limits.SECONDARY_METRICS, "too_many_metrics")
    check_size(metrics)
    for metric in metrics:
        check_metric_limits(metric.get("filters") if isinstance(metric, Mapping) else None)


def entries_of(value: object) -> Sequence[object]:
    """Return a list that may also have been sent as JSON text; an empty one in place of anything else."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return ()
    return value if isinstance(value, list) else ()
