"""The names under which the answers of erased persons to conditions are kept."""

import hashlib

from app.properties.filters import Node, canonical
from app.properties.subjects import is_cohort, named_cohort


def digest_of(condition: Node) -> str:
    """Return the name of a condition on persons; conditions on one cohort share it, whatever they ask of members."""
    text = f"cohort {named_cohort(condition)}" if is_cohort(condition) else canonical(condition)
    return hashlib.sha256(text.encode()).hexdigest()
