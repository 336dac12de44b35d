"""What a flag is, as fields of a form, and back: its key, its values and what SDKs get with them."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import JsonValue

from app.db.models import FeatureFlag
from app.flags.filters import JsonDict, variants_of
from app.flags.payloads import ENABLED
from app.pages.editing.rows import (
    Fields,
    Row,
    as_json_number,
    as_one_line,
    count_rows,
    keep_text,
    read_json_object,
    write_number,
)
from app.pages.editing.staleness import version_of

Json = dict[str, Any]

BLANK: Final[Mapping[str, str]] = {"rollout": "100", "active": "yes"}


def version_of_flag(flag: FeatureFlag) -> str:
    return version_of([flag.key, flag.name, flag.filters, flag.ensure_experience_continuity])


def write_flag(flag: FeatureFlag) -> dict[str, str]:
    """Return the fields of a flag's form, besides who gets it."""
    payloads = _payloads(flag.filters)
    fields = {
        "key": flag.key,
        "name": flag.name,
        "continuity": "yes" if flag.ensure_experience_continuity else "",
        "payload": _write_payload(payloads.get(ENABLED)),
        "seen": version_of_flag(flag),
    }
    for place, variant in enumerate(variants_of(flag.filters)):
        fields |= {f"v{place}_{name}": text for name, text in _write_variant(variant, payloads).items()}
        fields[f"v{place}_was"] = json.dumps(variant, ensure_ascii=False)
    return fields


def read_new(fields: Fields, errors: dict[str, str]) -> Json:
    """Return what creates a flag, as the API takes it."""
    form = Row(fields, "", errors)
    share, assigned = form.percentage("rollout"), form.integer("unit")
    group: Json = {"properties": [], "rollout_percentage": 100 if share is None else as_json_number(share)}
    filters: JsonDict = {"groups": [group]}
    if assigned is not None:
        filters["aggregation_group_type_index"] = assigned
    return {
        **_read_texts(form),
        "active": bool(form.text("active")),
        "ensure_experience_continuity": bool(form.text("continuity")),
        "filters": _with_values(filters, fields, errors),
    }


def read_change(flag: FeatureFlag, fields: Fields, errors: dict[str, str]) -> Json:
    """Return what a form changes of a flag, as the API takes it."""
    form = Row(fields, "", errors)
    texts = _read_texts(form)
    said: Json = {
        "key": keep_text(texts["key"], flag.key),
        "name": keep_text(texts["name"], flag.name),
        "ensure_experience_continuity": bool(form.text("continuity")),
        "filters": _with_values(flag.filters, fields, errors),
    }
    return {name: value for name, value in said.items() if value != getattr(flag, name)}


def _read_texts(form: Row) -> Json:
    key = form.required("key", "Choose a key: the code asks for the flag by it.")
    return {"key": key, "name": form.text("name")}


def _with_values(stored: JsonDict, fields: Fields, errors: dict[str, str]) -> JsonDict:
    """Return filters with the variants and payloads of a form; everything else stays as it is."""
    rows = [Row(fields, f"v{place}_", errors) for place in range(count_rows(fields, "v"))]
    named = [row for row in rows if any(map(row.text, ("key", "name", "share", "payload")))]
    before = _payloads(stored)
    variants = [_read_variant(row, before) for row in named]
    if variants != variants_of(stored):
        _check_shares(variants, errors)
    shown_keys = {str(one.get("key")) for one in variants_of(stored)} or {ENABLED}
    payloads = {key: value for key, value in before.items() if key not in shown_keys}  # which the form does not show
    for row, variant in zip(named, variants, strict=True):
        _add_payload(payloads, row, str(variant.get("key")), before, str(_read_was(row).get("key")))
    if not variants:
        _add_payload(payloads, Row(fields, "", errors), ENABLED, before, ENABLED)
    filters = dict(stored)
    if variants != variants_of(stored):
        multivariate = stored.get("multivariate")
        kept = multivariate if isinstance(multivariate, dict) else {}
        listed: list[JsonValue] = list(variants)
        filters["multivariate"] = {**kept, "variants": listed} if variants else None
    if payloads != before:
        filters["payloads"] = payloads
    return filters


def _read_variant(row: Row, payloads: JsonDict) -> JsonDict:
    """Return the variant of a row. What the row shows of a stored one as before is as it was stored."""
    stored = _read_was(row)
    shown = {name: as_one_line(text) for name, text in _write_variant(stored, payloads).items()}
    variant = dict(stored)
    key = row.required("key", "Every variant needs a key.")
    if key != shown["key"]:
        variant["key"] = key
    if (name := row.text("name")) != shown["name"]:
        variant["name"] = name
    if (share := row.percentage("share")) is None:
        row.refuse("share", "Give every variant a share; they sum to 100.")
    elif row.text("share") != shown["share"]:
        variant["rollout_percentage"] = as_json_number(share)
    return variant


def _read_was(row: Row) -> JsonDict:
    return read_json_object(row, "was") if row.text("was") else {}


def _write_variant(variant: JsonDict, payloads: JsonDict) -> dict[str, str]:
    share, key = variant.get("rollout_percentage"), variant.get("key")
    return {
        "key": "" if key is None else str(key),
        "name": str(variant.get("name") or ""),
        "share": write_number(share) if isinstance(share, int | float) else "",
        "payload": _write_payload(payloads.get(str(key))),
    }


def _check_shares(variants: Sequence[JsonDict], errors: dict[str, str]) -> None:
    shares = [share for one in variants if isinstance(share := one.get("rollout_percentage"), int | float)]
    if len(shares) < len(variants) or not variants:
        return
    if not all(0 <= share <= 100 for share in shares) or math.fsum(shares) != 100:  # an integer may be beyond floats
        errors.setdefault("variants", "The shares of the variants sum to 100.")


def _add_payload(payloads: JsonDict, row: Row, key: str, before: JsonDict, old_key: str) -> None:
    """Add what a row says of the payload of a value, as it was stored if the row shows it as before."""
    stored, text = before.get(old_key), row.text("payload")
    if text == as_one_line(_write_payload(stored)):
        if old_key in before:
            payloads[key] = stored
    elif text:
        payloads[key] = text


def _payloads(filters: JsonDict) -> JsonDict:
    payloads = filters.get("payloads")
    return payloads if isinstance(payloads, dict) else {}


def _write_payload(value: JsonValue) -> str:
    """Return a payload as a field holds it: payloads are JSON texts, and older ones other values."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
