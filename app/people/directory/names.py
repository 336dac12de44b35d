"""The names by which persons are shown."""

import re
from collections.abc import Mapping, Sequence

# In this order, as in 2022.
_NAMES = ("email", "Email", "name", "Name", "username", "Username", "UserName")
_MADE_UP = re.compile(r"(?:[0-9a-fA-F]+-){4}[0-9a-fA-F]+")  # by an SDK, for a visitor who is not identified


def in_order(distinct_ids: Sequence[str]) -> list[str]:
    """Return distinct ids, those that an SDK made up after the others."""
    return sorted(distinct_ids, key=is_made_up)


def is_made_up(distinct_id: str) -> bool:
    return _MADE_UP.fullmatch(distinct_id) is not None


def name_of(properties: Mapping[str, object], distinct_ids: Sequence[str]) -> str:
    """Return the name of a person, who has at least one distinct id."""
    named = next((value for key in _NAMES if (value := properties.get(key))), None)
    return str(named) if isinstance(named, str | int | float) else next(iter(in_order(distinct_ids)), "")
