"""The filters of lists of persons, read as criteria of cohorts: properties of persons, and membership of cohorts."""

from app.common.errors import ValidationFailed
from app.common.ids import read_reference
from app.people.cohorts.criteria import read_filters
from app.properties.filters import Condition, Conjunction, Group, InvalidFilter
from app.properties.requested import parse_requested
from app.properties.validation import compile_patterns


async def read_properties_filter(text: str | None) -> "Group | None":
    """Read conditions on persons and cohorts; conditions of the type ``event``, the default, are about the person.

    Raises
    ------
    ValidationFailed
    """
    try:
        tree = parse_requested(text)
        await compile_patterns([tree])
        return as_criteria(tree)
    except InvalidFilter as error:
        raise ValidationFailed(error.detail, code=error.code, attr="properties") from error


def as_criteria(tree: Group) -> "Group | None":
    """Return a filter as criteria; None without a condition.

    Raises
    ------
    InvalidFilter
        A condition is about something else than persons and cohorts.
    """
    return read_filters({"properties": tree.to_json()}) if tree.children else None


def read_cohort_filter(text: str | None) -> "Group | None":
    """Read the id of a cohort.

    Raises
    ------
    ValidationFailed
    """
    if not text:
        return None
    if read_reference(text) is None:
        raise ValidationFailed(f"A cohort is named by its id, got {text[:100]!r}", attr="cohort")
    return Conjunction((Condition("id", "exact", text, "cohort"),))


def both_filters(one: "Group | None", other: "Group | None") -> "Group | None":
    """Return the filter that persons pass who pass both."""
    given = tuple(tree for tree in (one, other) if tree is not None)
    return Conjunction(given) if given else None
