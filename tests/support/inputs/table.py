"""All dimensions."""

from collections.abc import Sequence
from functools import cache

from tests.support.inputs import capture, documents, evaluation, places, stored
from tests.support.inputs.model import Dimension


@cache
def named() -> Sequence[Dimension]:
    """Return the dimensions that are written down: the ways in which the meaning of an input grows."""
    parts = (capture, evaluation, documents, stored)
    return [dimension for part in parts for dimension in part.dimensions()]


@cache
def made() -> Sequence[Dimension]:
    """Return the dimensions that are made from the OpenAPI document: every place of every body and parameter."""
    return list(places.dimensions())
