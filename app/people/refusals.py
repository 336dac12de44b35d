"""Logs and counts what is not stored of persons and groups because of their limits."""

import logging
from collections.abc import Sequence

from app.common.limits import DISTINCT_IDS, PROPERTIES
from app.people.properties import PropertyDocument
from app.telemetry.prometheus import LEFT_OUT, REFUSED_MERGES

logger = logging.getLogger("abacus")

_NAMED = 5


def report_left_out(document: PropertyDocument, subject: str, project_id: int) -> None:
    """Report the properties of a person or a group that did not fit."""
    if not document.left_out:
        return
    LEFT_OUT.labels(subject).inc(document.left_out)
    logger.warning(
        "project %d: %d properties of a %s were left out, because it may have %d with %d bytes: %s",
        *(project_id, document.left_out, subject, PROPERTIES.value, document.limit.value),
        _first(document.first_left_out, document.left_out),
    )


def report_refused_merges(distinct_ids: Sequence[str], project_id: int) -> None:
    """Report identifications that did not join two persons."""
    if not distinct_ids:
        return
    REFUSED_MERGES.inc(len(distinct_ids))
    logger.warning(
        "project %d: %d identifications did not join persons, because one would have more than %d distinct ids: %s",
        *(project_id, len(distinct_ids), DISTINCT_IDS.value),
        _first(distinct_ids, len(distinct_ids)),
    )


def _first(names: Sequence[str], count: int) -> str:
    return ", ".join(map(repr, names[:_NAMED])) + (", ..." if count > _NAMED else "")
