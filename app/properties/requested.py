"""Filters in the query string of a list."""

from app.properties.budget import FilterBudget
from app.properties.filters import Conjunction, Group, parse_filter


def parse_requested(text: str | None) -> Group:
    """Parse a filter as a client writes it into the query string: JSON text, in any form that `parse_filter` reads.

    Raises
    ------
    InvalidFilter
        For whatever is not understood or too large.
    """
    if not text:
        return Conjunction()
    FilterBudget().count(text)
    return parse_filter(text)
