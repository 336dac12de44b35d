"""Which filters can be answered at all. Pure."""

from app.properties.filters import Condition, Group, InvalidFilter, Node
from app.properties.matcher import compile_filter
from app.properties.splitting import alternatives
from app.properties.subjects import DURATION_PROPERTY, atoms, is_cohort, require_cohort_id


def validate_filter(tree: Group) -> None:
    """Refuse a filter that no event could be tested with, before anything is stored or read.

    Raises
    ------
    InvalidFilter
        For a pattern that RE2 refuses, for a property that sessions or elements do not have, for a cohort that is not
        referred to by its id, and for more combinations of conditions than are looked at.
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
        raise InvalidFilter(f"Sessions have no {node.key[:100]!r}: only {DURATION_PROPERTY} can be asked for")
