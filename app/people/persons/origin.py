"""Where persons came from, as their events say: of each property a person keeps the first value."""

from collections.abc import Iterable, Sequence, Set
from typing import Final, TypeAlias

from app.people.properties import Properties
from app.sdk.bounded_structs import Scalar

CAMPAIGN_PROPERTIES: Final = (
    "utm_source",
    "utm_medium",
    "utm_campaign",
    "utm_content",
    "utm_term",
    "gclid",
    "fbclid",
)
_VISIT_PROPERTIES: Final = (
    "$browser",
    "$browser_version",
    "$device_type",
    "$current_url",
    "$pathname",
    "$os",
    "$referring_domain",
    "$referrer",
)
ORIGIN_PROPERTIES: Final = (*CAMPAIGN_PROPERTIES, *_VISIT_PROPERTIES)
INITIAL_PROPERTIES: Final = tuple(f"$initial_{name.removeprefix('$')}" for name in ORIGIN_PROPERTIES)

# What an event says: the value of each of ``ORIGIN_PROPERTIES``, None where it has none; empty where it says nothing.
Origin: TypeAlias = Sequence[Scalar]
NO_ORIGIN: Final[Origin] = ()


def initial_properties(origin: Origin) -> Properties:
    """Return the properties that a person gets from an event, unless the person has them."""
    return {name: value for name, value in zip(INITIAL_PROPERTIES, origin, strict=False) if value is not None}


def initial_names(origins: Iterable[Origin]) -> Set[str]:
    """Return the names of the properties that persons get from any of some events: by column, a tenth of the work."""
    columns = zip(*filter(None, origins), strict=True)
    return {name for name, column in zip(INITIAL_PROPERTIES, columns, strict=False) if column.count(None) < len(column)}
