"""The release conditions of a flag as fields of a form, and back."""

import hashlib
import json
from typing import Any, Final

from app.flags.filters import JsonDict, group_type_index_of, groups_of
from app.flags.holdouts import replacing_holdout
from app.pages.editing.conditions import read_condition, write_condition
from app.pages.editing.rows import Fields, Row, count_rows, read_json_object, write_number

MOST_RELEASES: Final = 20
MOST_CONDITIONS: Final = 20
_MOST_ROWS: Final = 100  # of a kind: their places have two digits in names of fields
_MOST_FIELDS: Final = 900  # a form has at most 1,000, with those of new rows
_TOO_MANY: Final = "Fields cannot hold so many conditions: change them as JSON."
# What of a release condition has fields of its own.
_SHOWN: Final = ("properties", "rollout_percentage", "variant", "description")


def version_of(filters: JsonDict) -> str:
    """Return what tells filters from those that somebody else stored meanwhile."""
    return hashlib.sha256(json.dumps(filters, sort_keys=True).encode()).hexdigest()


def write_releases(filters: JsonDict) -> dict[str, str]:
    """Return the fields of a flag's release conditions, and of its filters as JSON."""
    fields = {"seen": version_of(filters), "filters": json.dumps(filters, indent=2, ensure_ascii=False)}
    group_type = group_type_index_of(filters)
    for place, group in enumerate(groups_of(filters)):
        share, properties = group.get("rollout_percentage"), group.get("properties")
        rest = {name: value for name, value in group.items() if name not in _SHOWN}
        fields |= {
            f"g{place}_rollout": write_number(share) if isinstance(share, int | float) else "",
            f"g{place}_variant": str(group.get("variant") or ""),
            f"g{place}_description": str(group.get("description") or ""),
            f"g{place}_rest": json.dumps(rest, ensure_ascii=False) if rest else "",
        }
        for index, condition in enumerate(properties if isinstance(properties, list) else ()):
            written = write_condition(condition, group_type)
            fields |= {f"g{place}c{index}_{name}": value for name, value in written.items()}
    return fields


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
    release: JsonDict = read_json_object(row, "rest") if row.text("rest") else {}
    release["properties"] = [one for one in conditions if one is not None]
    share = row.number("rollout")
    release["rollout_percentage"] = int(share) if share is not None and share.is_integer() else share
    for name in ("variant", "description"):
        if text := row.text(name):
            release[name] = text
    return release
