"""Gives what a document refers to by numbers the numbers that it has in another project."""

import json
from collections.abc import Mapping
from typing import Any, Final, Literal

from app.common.ids import read_reference
from app.events.imports.records import LineRefused
from app.properties.operators import COHORT_TYPES

Kind = Literal["action", "cohort", "holdout", "saved_metric"]
Numbers = Mapping[tuple[Kind, int], int]  # here, by those of the export
Json = Any  # whatever JSON holds

_NOUNS: Final[Mapping[Kind, str]] = {"saved_metric": "saved metric"}


def renumbered(document: Json, numbers: Numbers) -> Json:
    """Return a document with other numbers of actions, cohorts, saved metrics and holdouts.

    Raises
    ------
    LineRefused
        It refers to something that the export does not hold.
    """
    if isinstance(document, list):
        return [renumbered(item, numbers) for item in document]
    if isinstance(document, str):
        return _renumbered_text(document, numbers)
    if not isinstance(document, dict):
        return document
    changed = {name: renumbered(value, numbers) for name, value in document.items()}
    kind = document.get("type")
    if isinstance(kind, str) and kind in COHORT_TYPES and "value" in document:
        changed["value"] = _number("cohort", document["value"], numbers)
    if (kind == "actions" or document.get("kind") == "ActionsNode") and "id" in document:
        changed["id"] = _number("action", document["id"], numbers)
    for entry in _entries(changed.get("actions")):
        if "type" not in entry:  # that it is an action follows from the list
            entry["id"] = _number("action", entry.get("id"), numbers)
    for entry in _entries(changed.get("saved_metrics_ids")):
        entry["id"] = _number("saved_metric", entry.get("id"), numbers)
    if document.get("holdout_id") is not None:
        changed["holdout_id"] = _number("holdout", document["holdout_id"], numbers)
    return changed


def _entries(items: Json) -> list[dict[str, Json]]:
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _number(kind: Kind, value: Json, numbers: Numbers) -> int:
    number = read_reference(value)
    found = None if number is None else numbers.get((kind, number))
    if found is None:
        raise LineRefused(f"refers to the {_NOUNS.get(kind, kind)} {str(value)[:40]}, which the export does not hold")
    return found


def _renumbered_text(text: str, numbers: Numbers) -> str:
    """Filters may be JSON texts inside JSON."""
    if ("cohort" not in text and "action" not in text) or text.lstrip()[:1] not in {"[", "{"}:
        return text
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return text
    changed = renumbered(document, numbers)
    return text if changed == document else json.dumps(changed, ensure_ascii=False, separators=(",", ":"))
