"""Validation of the conditions of typed metrics before they are stored."""

from collections.abc import Iterator, Mapping
from typing import Final

from app.common import limits
from app.common.time_slices import TimeSlices
from app.metrics.queries.metric_conditions import check_conditions

_NODES: Final = (
    "source",
    "numerator",
    "denominator",
    "start_event",
    "completion_event",
    "exposure_config",
    "activation_config",
)


async def check_typed_conditions(document: object) -> None:
    """Refuse conditions that are not understood, in slices of time.

    Parameters
    ----------
    document
        A typed metric, a list of them, or exposure criteria, as sent. What cannot be read is refused elsewhere.

    Raises
    ------
    InvalidFilter
        It names the condition.
    """
    bodies = document if isinstance(document, list) else [document]
    slices = TimeSlices()
    for body in bodies if len(bodies) <= limits.SECONDARY_METRICS.value else ():
        if isinstance(body, Mapping):
            await check_conditions({"events": list(_nodes_written(body))}, slices)


def _nodes_written(body: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    steps = body.get("series")
    for node in (*map(body.get, _NODES), *(steps if isinstance(steps, list) else ())):
        if isinstance(node, Mapping):
            yield node
