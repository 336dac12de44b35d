"""What pages call the fields and actions that texts of the API name: what a form, a button or a heading says."""

import re
from collections.abc import Mapping
from typing import Final

from app.pages.actions.catalog import ACTIONS, action_of_the_api

_PLANNING: Final = "Show what it counts today, and plan"
# No name is here that an event or a property may well have.
LABELS: Final[Mapping[str, str]] = {
    "decision_criteria.target_mde": "Smallest change worth detecting, in %",
    "exposure_criteria": "Who counts as exposed",
    "scheduling_config": "Schedule",
    "circuit_breakers": "Circuit breakers",
    "stats_config": "How it is compared",
    "breakdown_type": "Property of the",
    "breakdown_by": "at the",
    "POST power/": _PLANNING,
    "GET events/": _PLANNING,
    "health/": "Before the launch",
    **{f"{action_of_the_api(action.name)}/": action.title for action in ACTIONS},
}
_NAME: Final = re.compile(f"`({'|'.join(map(re.escape, LABELS))})`")


def with_labels(text: str) -> str:
    """Return a text of the API with what pages call the things that it names."""
    return _NAME.sub(lambda found: _quoted(LABELS[found[1]]), text)


def _quoted(label: str) -> str:
    return f"\N{LEFT DOUBLE QUOTATION MARK}{label}\N{RIGHT DOUBLE QUOTATION MARK}"
