"""Who counts as exposed: fields of a form, and back."""

import json
from collections.abc import Mapping
from typing import Any, Final

from app.pages.editing.rows import Fields, Row, is_one_line, read_json_object

Json = dict[str, Any]

SEVERAL: Final[Mapping[str, str]] = {"exclude": "are left out", "first_seen": "belong to the first one"}
_KIND: Final = "ExperimentEventExposureConfig"
_EVENTS: Final = {"exposure_config": "exposed_at", "activation_config": "activated_at"}


def read_exposure(fields: Fields, errors: dict[str, str]) -> Json | None:
    """Return the exposure criteria of a form, as the API takes them; None where it says nothing of them."""
    form = Row(fields, "", errors)
    if form.text("exposure_json"):
        return read_json_object(form, "exposure_json")
    criteria: Json = {}
    for name, field in _EVENTS.items():
        if event := form.text(field):
            criteria[name] = {"kind": _KIND, "event": event}
    if form.text("several") == "first_seen":
        criteria["multiple_variant_handling"] = "first_seen"
    if form.text("no_tests"):
        criteria["filterTestAccounts"] = True
    return criteria or None


def write_exposure(criteria: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the fields of stored exposure criteria; JSON for those that fields cannot say."""
    stored = criteria or {}
    fields = {
        "several": str(stored.get("multiple_variant_handling", "exclude")),
        "no_tests": "yes" if stored.get("filterTestAccounts") else "",
    }
    for name, field in _EVENTS.items():
        node = {key: value for key, value in (stored.get(name) or {}).items() if value is not None}
        event = str(node.get("event", ""))
        if node and (node != {"kind": _KIND, "event": event} or not is_one_line(event)):
            return {"exposure_json": json.dumps(stored, indent=2, ensure_ascii=False)}
        fields[field] = event
    return fields


def place_of_exposure(attr: str, fields: Fields) -> str:
    """Return the field beside which an error of exposure criteria is shown."""
    if fields.get("exposure_json"):
        return "exposure_json"
    return "activated_at" if "activation_config" in attr else "exposed_at"
