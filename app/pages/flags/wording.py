"""Release conditions of flags in words."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from app.flags.filters import JsonDict, group_type_index_of, groups_of, variants_of
from app.flags.holdouts import read_holdout

_OPERATORS: Final[Mapping[str, str]] = {
    "exact": "is",
    "is_not": "is not",
    "icontains": "contains",
    "not_icontains": "does not contain",
    "starts_with": "starts with",
    "not_starts_with": "does not start with",
    "ends_with": "ends with",
    "not_ends_with": "does not end with",
    "regex": "matches",
    "not_regex": "does not match",
    "gt": "is more than",
    "gte": "is at least",
    "lt": "is less than",
    "lte": "is at most",
    "is_set": "is set",
    "is_not_set": "is not set",
    "is_date_exact": "is on",
    "is_date_before": "is before",
    "is_date_after": "is after",
    "in": "is in",
    "not_in": "is not in",
    "flag_evaluates_to": "is",
}
_WITHOUT_VALUE: Final = ("is_set", "is_not_set")
_MAX_VALUES: Final = 10


@dataclass(frozen=True)
class ReleaseWords:
    """One release condition in words. ``override`` is the variant that its persons get, whatever the split says."""

    conditions: Sequence[str]
    rollout: float
    override: str
    description: str


@dataclass(frozen=True)
class VariantWords:
    """A variant with its share in percent, and what SDKs get with it."""

    key: str
    name: str
    share: float
    payload: str


@dataclass(frozen=True)
class FlagWords:
    """The filters of a flag in words."""

    unit: str
    releases: Sequence[ReleaseWords]
    variants: Sequence[VariantWords]
    held_out: str


def describe_filters(filters: JsonDict) -> FlagWords:
    index, holdout = group_type_index_of(filters), read_holdout(filters)
    payloads = filters.get("payloads")
    known = payloads if isinstance(payloads, dict) else {}
    return FlagWords(
        unit="persons" if index is None else f"groups of type {index}",
        releases=[_describe_release(group) for group in groups_of(filters)],
        variants=[_describe_variant(variant, known) for variant in variants_of(filters)],
        held_out="" if holdout is None else f"{holdout.percentage:g} % are held out and get {holdout.variant}.",
    )


def _describe_release(group: JsonDict) -> ReleaseWords:
    properties = group.get("properties")
    return ReleaseWords(
        conditions=[describe_condition(one) for one in properties] if isinstance(properties, list) else [],
        rollout=_read_share(group, 100),
        override=str(group.get("variant") or ""),
        description=str(group.get("description") or ""),
    )


def _describe_variant(variant: JsonDict, payloads: JsonDict) -> VariantWords:
    key = str(variant.get("key"))
    payload = payloads.get(key)
    shown = payload if isinstance(payload, str) else "" if payload is None else json.dumps(payload)
    return VariantWords(key, str(variant.get("name") or ""), _read_share(variant, 0), shown)


def _read_share(part: JsonDict, default: float) -> float:
    share = part.get("rollout_percentage")
    return float(share) if isinstance(share, int | float) else default


def describe_condition(condition: JsonValue) -> str:
    """Return a condition as a sentence; what is not understood as the JSON that it is."""
    if not isinstance(condition, dict) or "key" not in condition:
        return json.dumps(condition, ensure_ascii=False)
    kind, key = condition.get("type"), str(condition["key"])
    operator = str(condition.get("operator") or ("in" if kind == "cohort" else "exact"))
    if operator not in _OPERATORS:
        return json.dumps(condition, ensure_ascii=False)
    subject = {"cohort": "The person", "flag": f"The flag {key}"}.get(str(kind), key)
    if kind == "group":
        subject = f"{key} of the group"
    words = [subject, _OPERATORS[operator]]
    if operator not in _WITHOUT_VALUE:
        value = _describe_value(condition.get("value"))
        words.append(f"the cohort {value}" if kind == "cohort" else value)
    text = " ".join(words)
    return f"not: {text}" if condition.get("negation") else text


def _describe_value(value: JsonValue) -> str:
    if not isinstance(value, list):
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    shown = [_describe_value(one) for one in value[:_MAX_VALUES]]
    more = f" or one of {len(value) - _MAX_VALUES} more" if len(value) > _MAX_VALUES else ""
    return " or ".join(shown) + more
