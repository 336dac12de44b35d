"""Validation of filters before they are stored or used."""

from collections.abc import Iterable
from contextlib import suppress

from app.common import limits
from app.common.time_slices import TimeSlices
from app.properties.filters import Condition, Group, InvalidFilter, Node, conditions_of
from app.properties.matcher import compile_filter, searches_of
from app.properties.splitting import alternatives
from app.properties.subjects import DURATION_PROPERTY, atoms, is_cohort, named_cohort


def validate_filter(tree: Group) -> None:
    """Refuse a filter that cannot be evaluated, before anything is stored or read.

    Raises
    ------
    InvalidFilter
        For a pattern that RE2 refuses, a property that sessions or elements do not have, a cohort that is not referred
        to by its id, and too many combinations of conditions.
    """
    for one in alternatives(tree):
        compile_filter(one.event)
        for atom in atoms(one.later):
            _refuse_other_session_properties(atom)
            if is_cohort(atom):
                named_cohort(atom)
            else:
                compile_filter(atom)


async def compile_patterns(trees: Iterable[Node]) -> None:
    """Compile the regular expressions of filters, in slices of time on the event loop.

    Those that are refused are left to the validation that follows. It, and whatever compiles the same filters later,
    finds the outcome in a cache.

    Raises
    ------
    InvalidFilter
        When they are too large together.
    """
    slices = TimeSlices(rests=True)  # one expression takes up to five milliseconds
    size = 0
    for tree in trees:
        for condition in conditions_of(tree):
            with suppress(InvalidFilter):
                size += sum(search.size for search in searches_of(condition))
            if size > limits.PATTERN_PROGRAMS_BYTES.value:
                raise InvalidFilter(limits.PATTERN_PROGRAMS_BYTES.detail, "too_many_patterns")
            if slices.are_over():
                await slices.pause()


def _refuse_other_session_properties(node: Node) -> None:
    if not isinstance(node, Condition):
        for child in node.children:
            _refuse_other_session_properties(child)
    elif node.type == "session" and node.key != DURATION_PROPERTY:
        raise InvalidFilter(f"Sessions do not have the property {node.key[:100]!r}: use {DURATION_PROPERTY}")
