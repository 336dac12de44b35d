"""Validation of filters before they are stored or used."""

from app.properties.filters import Condition, Group, InvalidFilter, Node
from app.properties.matcher import compile_filter
from app.properties.splitting import alternatives
from app.properties.subjects import DURATION_PROPERTY, atoms, is_cohort, require_cohort_id


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
                require_cohort_id(atom)
            else:
                compile_filter(atom)


def _refuse_other_session_properties(node: Node) -> None:
    if not isinstance(node, Condition):
        for child in node.children:
            _refuse_other_session_properties(child)
    elif node.type == "session" and node.key != DURATION_PROPERTY:
        raise InvalidFilter(f"Sessions do not have the property {node.key[:100]!r}: use {DURATION_PROPERTY}")
