"""The release conditions of a flag as fields of a form, and back."""

import json
from typing import Any, Final

from app.flags.filters import JsonDict, group_type_index_of, groups_of
from app.flags.holdouts import replacing_holdout
from app.pages.editing.conditions import read_condition, write_condition
from app.pages.editing.rows import Fields, Row, as_json_number, as_one_line, count_rows, read_json_object, write_number
from app.pages.editing.staleness import version_of

MOST_RELEASES: Final = 20
MOST_CONDITIONS: Final = 20
_MOST_ROWS: Final = 100  # of a kind: their places have two digits in names of fields
_MOST_FIELDS: Final = 900  # a form has at most 1,000, with those of new rows
_TOO_MANY: Final = "There are more conditions than the fields can hold: change them as JSON."


def write_releases(filters: JsonDict) -> dict[str, str]:
    """Return the fields of a flag's release conditions, and of its filters as JSON."""
    fields = {"seen": version_of(filters), "filters": json.dumps(filters, indent=2, ensure_ascii=False)}
    group_type = group_type_index_of(filters)
    for place, group in enumerate(groups_of(filters)):
        properties = group.get("properties")
        was = {**group, "properties": []} if properties else group
        fields |= {f"g{place}_{name}": value for name, value in _write_release(group).items()}
        fields[f"g{place}_was"] = json.dumps(was, ensure_ascii=False)
        for index, condition in enumerate(properties if isinstance(properties, list) else ()):
            written = write_condition(condition, group_type)
            fields |= {f"g{place}c{index}_{name}": value for name, value in written.items()}
    return fields


def _write_release(group: JsonDict) -> dict[str, str]:
    """Return the fields of a release condition, besides those of its conditions."""
    share = group.get("rollout_percentage")
    return {
        "rollout": write_number(share) if isinstance(share, int | float) else "",
        "variant": str(group.get("variant") or ""),
        "description": str(group.get("description") or ""),
    }


def fits_fields(filters: JsonDict) -> bool:
    """Whether a form has room for all release conditions; others are changed as JSON."""
    listed = [group.get("properties") for group in groups_of(filters)]
    counts = [len(listed), *(len(one) for one in listed if isinstance(one, list))]
    return max(counts) <= _MOST_ROWS and len(write_releases(filters)) <= _MOST_FIELDS


def with_other_form(filters: JsonDict, fields: Fields) -> Fields:
    """Return the fields that one form of the page sent, and the other form's as the flag is: either may be saved."""
    stored = write_releases(filters)
    return {**stored, **fields} if "filters" in fields else {"filters": stored["filters"], **fields}


def read_releases(filters: JsonDict, fields: Fields, errors: dict[str, str]) -> JsonDict:
    """Return the filters with the release conditions of a form; everything else stays as it is."""
    if not fits_fields(filters):
        errors["conditions"] = _TOO_MANY
        return filters
    group_type = group_type_index_of(filters)
    groups: list[Any] = [
        _read_release(fields, f"g{place}", group_type, errors) for place in range(count_rows(fields, "g"))
    ]
    return {**filters, "groups": groups}


def read_filters(stored: JsonDict, fields: Fields, errors: dict[str, str]) -> JsonDict:
    """Return the filters that a form holds as JSON; what it leaves out of the stored ones is removed."""
    filters: JsonDict = read_json_object(Row(fields, "", errors), "filters")
    if "filters" not in errors and "groups" not in filters:
        errors["filters"] = "`groups` are missing: the release conditions."
    return replacing_holdout(filters, stored)


def _read_release(fields: Fields, prefix: str, group_type: int | None, errors: dict[str, str]) -> JsonDict:
    row = Row(fields, f"{prefix}_", errors)
    conditions = [
        read_condition(Row(fields, f"{prefix}c{index}_", errors), group_type)
        for index in range(count_rows(fields, f"{prefix}c"))
    ]
    release = _read_stored(row)
    # What the form shows of a stored condition as before is as it was stored: null, left out, or of several lines.
    shown = {name: as_one_line(value) for name, value in _write_release(release).items()}
    found: list[Any] = [one for one in conditions if one is not None]
    if found:
        release["properties"] = found
    share = row.number("rollout")
    if row.text("rollout") != shown["rollout"]:
        release["rollout_percentage"] = None if share is None else as_json_number(share)
    for name in ("variant", "description"):
        if (text := as_one_line(row.text(name))) != shown[name]:
            release.pop(name, None)
            if text:
                release[name] = text
    return release


def _read_stored(row: Row) -> JsonDict:
    """Return a release condition as it was stored, without its conditions; a new one is for everybody."""
    text = row.text("was")
    if text == "{}":
        return {}
    return read_json_object(row, "was") if text else {"properties": [], "rollout_percentage": None}
