"""Finds the cohorts that documents with filters name, in whatever form the filters are."""

import json
from collections.abc import Iterator

from app.common.ids import read_reference
from app.properties.operators import COHORT_TYPES


def cohorts_written(document: object) -> Iterator[int]:
    """Yield the ids of the cohorts that conditions in a JSON document name, at any depth and in JSON texts too.

    Unlike a parser this finds them in documents that are not understood otherwise.
    """
    waiting = [document]
    while waiting:
        part = waiting.pop()
        if isinstance(part, str):
            part = _parsed(part)
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            if part.get("type") in COHORT_TYPES and (number := read_reference(part.get("value"))) is not None:
                yield number
            waiting += part.values()


def _parsed(text: str) -> object:
    """Return the document in a text that may name a cohort; None for any other."""
    if "cohort" not in text or text.lstrip()[:1] not in {"[", "{"}:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
