"""Release conditions of flags in words."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from app.common.number_texts import format_chosen_share
from app.flags.evaluation.conditions import parse_conditions
from app.flags.filters import JsonDict, groups_of, variants_of
from app.flags.holdouts import read_holdout
from app.properties.errors import InvalidFilter
from app.properties.wording import describe_condition


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


def describe_filters(filters: JsonDict, unit: str) -> FlagWords:
    """Return filters in words; ``unit`` is what the flag assigns, in the plural."""
    holdout = read_holdout(filters)
    payloads = filters.get("payloads")
    known = payloads if isinstance(payloads, dict) else {}
    return FlagWords(
        unit=unit,
        releases=[_describe_release(group) for group in groups_of(filters)],
        variants=[_describe_variant(variant, known) for variant in variants_of(filters)],
        held_out=""
        if holdout is None
        else f"{format_chosen_share(holdout.percentage / 100)} are held out and get {holdout.variant}.",
    )


def _describe_release(group: JsonDict) -> ReleaseWords:
    properties = group.get("properties")
    return ReleaseWords(
        conditions=[describe_entry(one) for one in properties] if isinstance(properties, list) else [],
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


def describe_entry(entry: JsonValue) -> str:
    """Return a condition as a clause; what is not understood as the JSON that it is."""
    try:
        return " and ".join(map(describe_condition, parse_conditions([entry])))
    except InvalidFilter:
        return f"`{json.dumps(entry, ensure_ascii=False)}`"
