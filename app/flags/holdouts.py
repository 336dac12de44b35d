"""The holdout of a flag: people who are kept out before any of its release conditions is tried."""

from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from app.common.errors import ValidationFailed
from app.flags.filters import JsonDict, is_percentage

_VARIANT_PREFIX: Final = "holdout-"
_MAX_ID_CHARACTERS: Final = 100
_NAMES: Final = frozenset({"holdout", "holdout_groups"})  # the newer form, and the older one


@dataclass(frozen=True, slots=True)
class Holdout:
    """Who is held out: a percentage of identifiers, who get ``variant`` as their value.

    The id of a holdout is not part of its hash: holdouts of equal percentages hold the same people, of every flag.
    """

    variant: str
    percentage: float

    @property
    def id(self) -> str | None:
        """The id by which SDKs name the variant; None where they would name another one."""
        found = self.variant.removeprefix(_VARIANT_PREFIX)
        return found if self.variant.startswith(_VARIANT_PREFIX) and found else None


def holdout_variant(holdout_id: int) -> str:
    """Return what a flag answers to a person whom a holdout keeps out."""
    return f"{_VARIANT_PREFIX}{holdout_id}"


def read_holdout(filters: JsonDict) -> Holdout | None:
    """Return the holdout of a flag; None where it has none, or one that cannot be understood.

    It is ``holdout``, or the first of ``holdout_groups``, the older form. A percentage outside 0 to 100, which older
    versions of the API accepted, is clamped as SDKs clamp it.
    """
    holdout = filters.get("holdout")
    if isinstance(holdout, dict) and holdout:
        return _holdout(_variant_of(holdout.get("id")), holdout.get("exclusion_percentage"))
    groups = filters.get("holdout_groups")
    group = groups[0] if isinstance(groups, list) and groups else None
    if not isinstance(group, dict) or group.get("properties"):
        return None
    percentage = group.get("rollout_percentage")
    return _holdout(group.get("variant") or "holdout", 100 if percentage is None else percentage)


def with_holdout(filters: JsonDict, holdout: JsonDict | None) -> JsonDict:
    """Return the filters with a holdout (``id`` and ``exclusion_percentage``) in place of theirs; None removes it."""
    rest: JsonDict = {name: value for name, value in filters.items() if name not in _NAMES}
    return rest if holdout is None else {**rest, "holdout": holdout}


def keep_holdout(filters: JsonDict, before: JsonDict) -> JsonDict:
    """Return new filters with the holdout from before, unless they say something of it themselves, if only null."""
    if _NAMES & filters.keys():
        return filters
    return {**filters, **{name: value for name, value in before.items() if name in _NAMES}}


def replacing_holdout(filters: JsonDict, before: JsonDict) -> JsonDict:
    """Return whole filters so that they also remove a holdout from before of which they say nothing."""
    is_removed = bool(_NAMES & before.keys()) and not _NAMES & filters.keys()
    return {**filters, "holdout": None} if is_removed else filters


def validate_holdout(filters: JsonDict) -> None:
    """Refuse a holdout that could not be evaluated.

    Raises
    ------
    ValidationFailed
        With ``attr`` ``filters``.
    """
    holdout = filters.get("holdout")
    if holdout is not None and not isinstance(holdout, dict):
        raise _refusal("holdout must be an object")
    if holdout:
        if _variant_of(holdout.get("id")) is None:
            raise _refusal("holdout must have an id, a number or a text")
        if not is_percentage(holdout.get("exclusion_percentage")):
            raise _refusal("holdout must have an exclusion_percentage from 0 to 100")
    _validate_groups(filters.get("holdout_groups"))


def _validate_groups(groups: JsonValue) -> None:
    if groups is None or groups == []:
        return
    if not isinstance(groups, list) or not isinstance(groups[0], dict):
        raise _refusal("holdout_groups must be a list of objects")
    if len(groups) > 1:
        raise _refusal("at most one of holdout_groups is evaluated")
    group = groups[0]
    if group.get("properties"):
        raise _refusal("holdout_groups cannot have properties")
    share = group.get("rollout_percentage")
    if share is not None and not is_percentage(share):
        raise _refusal("holdout_groups must have a rollout_percentage from 0 to 100")
    if not isinstance(group.get("variant", ""), str | None):
        raise _refusal("the variant of holdout_groups must be a text")


def _holdout(variant: JsonValue, percentage: JsonValue) -> Holdout | None:
    if not isinstance(variant, str) or isinstance(percentage, bool) or not isinstance(percentage, int | float):
        return None
    return Holdout(variant, min(max(float(percentage), 0.0), 100.0))


def _variant_of(holdout_id: JsonValue) -> str | None:
    is_id = isinstance(holdout_id, int | str) and not isinstance(holdout_id, bool)
    named = str(holdout_id) if is_id else ""
    return f"{_VARIANT_PREFIX}{named}" if named and len(named) <= _MAX_ID_CHARACTERS else None


def _refusal(why: str) -> ValidationFailed:
    return ValidationFailed(f"Filters are not valid ({why})", attr="filters")
