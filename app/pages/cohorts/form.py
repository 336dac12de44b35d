"""A cohort as fields of a form, and back."""

import json
import re
from typing import Any, Final

from pydantic import JsonValue

from app.db.models import Cohort
from app.pages.editing.conditions import read_condition, write_condition
from app.pages.editing.rows import Fields, Row, count_rows, keep_text, read_json_object
from app.pages.editing.staleness import version_of
from app.people.cohorts.criteria import property_groups
from app.properties.errors import InvalidFilter

Json = dict[str, Any]

MATCHES: Final = {"AND": "all of them hold", "OR": "at least one of them holds"}
KINDS: Final = {"criteria": "Conditions: who meets them is in it", "list": "A list of ids"}
MOST_CONDITIONS: Final = 50
MOST_IDS: Final = 20_000
_CRITERIA: Final = re.compile(r"match|json|c\d{1,2}_(?:key|operator|value|json)")
_NO_CONDITION: Final = "Add a condition: without one, no person is in the cohort."


def version_of_cohort(cohort: Cohort) -> str:
    return version_of([cohort.name, cohort.description, cohort.filters, cohort.groups])


def write_cohort(cohort: Cohort) -> dict[str, str]:
    """Return the fields of a form that shows a cohort."""
    own = {"name": cohort.name, "description": cohort.description, "seen": version_of_cohort(cohort)}
    return own if cohort.is_static else own | _write_criteria(cohort)


def read_new(fields: Fields, errors: dict[str, str]) -> Json:
    """Return what creates a cohort, as the API takes it."""
    form = Row(fields, "", errors)
    document: Json = {**_read_texts(form), "is_static": form.text("kind") == "list"}
    rows = [Row(fields, f"c{place}_", {}) for place in range(count_rows(fields, "c"))]
    if document["is_static"]:
        if any(row.text("key") or row.text("value") for row in rows):
            errors["conditions"] = "A list has no conditions: remove them, or choose conditions above."
        return document | {"distinct_ids": _read_ids(form)}
    if form.text("ids"):
        form.refuse("ids", "Ids belong to a list: remove them, or choose a list above.")
    return document | {"filters": _read_criteria(fields, errors)}


def read_change(cohort: Cohort, fields: Fields, errors: dict[str, str]) -> Json:
    """Return what a form changes of a cohort, as the API takes it."""
    form = Row(fields, "", errors)
    texts = _read_texts(form)
    document: Json = {
        "name": keep_text(texts["name"], cohort.name),
        "description": keep_text(texts["description"], cohort.description, lines=True),
    }
    if cohort.is_static:
        return document | ({"distinct_ids": ids} if (ids := _read_ids(form)) else {})
    if _criteria_in(fields) == _criteria_in(_write_criteria(cohort)):
        return document
    return document | {"filters": _read_criteria(fields, errors)}


def _read_texts(form: Row) -> Json:
    return {"name": form.required("name", "Give the cohort a name."), "description": form.text("description")}


def _read_ids(form: Row) -> list[str]:
    """Return the ids of a field that holds one on each line."""
    if form.text("ids").count("\n") >= MOST_IDS:
        form.refuse("ids", f"At most {MOST_IDS:,} ids at a time: save these first, and add the others then.")
        return []
    return [line.strip() for line in form.text("ids").splitlines() if line.strip()]


def _read_criteria(fields: Fields, errors: dict[str, str]) -> Json:
    form = Row(fields, "", errors)
    if form.text("json"):
        return read_json_object(form, "json")
    rows = [Row(fields, f"c{place}_", errors) for place in range(count_rows(fields, "c"))]
    conditions = [condition for row in rows if (condition := read_condition(row)) is not None]
    if not conditions:
        errors.setdefault("conditions", _NO_CONDITION)
    return {"properties": {"type": "OR" if form.text("match") == "OR" else "AND", "values": conditions}}


def _write_criteria(cohort: Cohort) -> dict[str, str]:
    """Return the fields of a cohort's criteria: rows of conditions, or JSON for what these cannot say."""
    tree = _tree_of(cohort)
    if tree is None:
        return {"match": "AND"}
    flat = _flatten(tree)
    if flat is None:
        stored = cohort.filters or {"properties": tree}
        return {"json": json.dumps(stored, indent=2, ensure_ascii=False)}
    match, conditions = flat
    fields = {"match": match}
    for place, condition in enumerate(conditions):
        fields |= {f"c{place}_{name}": text for name, text in write_condition(condition).items()}
    return fields


def _tree_of(cohort: Cohort) -> JsonValue:
    """Return the criteria of a cohort as one tree of conditions, as it is stored if it is one."""
    stored = (cohort.filters or {}).get("properties")
    if isinstance(stored, dict) and isinstance(stored.get("values"), list):
        return stored if stored["values"] else None
    try:
        return property_groups(cohort.filters, cohort.groups)
    except InvalidFilter:  # an older one, from before its form was refused
        return stored


def _flatten(tree: JsonValue) -> tuple[str, list[JsonValue]] | None:
    """Return how conditions are joined, and the conditions; None for a tree that holds groups of them."""
    while isinstance(tree, dict) and isinstance(values := tree.get("values"), list):
        if len(values) == 1 and isinstance(values[0], dict) and "values" in values[0]:
            tree = values[0]
            continue
        match = str(tree.get("type"))
        is_flat = not any(isinstance(one, dict) and "values" in one for one in values)
        return (match, values) if is_flat and match in MATCHES and len(values) <= MOST_CONDITIONS else None
    return None


def _criteria_in(fields: Fields) -> dict[str, str]:
    """Return the fields of the criteria, without the line breaks that browsers send in their own way."""
    return {name: "".join(text.splitlines()).strip() for name, text in fields.items() if _CRITERIA.fullmatch(name)}
