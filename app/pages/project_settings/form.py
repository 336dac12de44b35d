"""The settings of a project as fields of a form, and back."""

from typing import Any, Final

from app.accounts.projects.schemas import CupedConfig
from app.common.timestamps import write_moment
from app.db.models import Project
from app.pages.editing.conditions import read_condition, write_condition
from app.pages.editing.rows import Fields, Row, count_rows, keep_text

Json = dict[str, Any]

ATTRIBUTIONS: Final = {
    "events": "a property of the event",
    "exposure": "the person's exposure",
}
MOST_CONDITIONS: Final = 20
_MOST_ROWS: Final = 100  # their places have two digits in names of fields
_DAYS: Final = CupedConfig().lookback_days


def write_project(project: Project) -> dict[str, str]:
    """Return the fields of a form that shows a project's settings."""
    cuped = project.default_cuped
    fields = {
        "name": project.name,
        "timezone": project.timezone,
        "anonymize": "yes" if project.anonymize_ips else "",
        "attribution": project.default_attribution,
        "cuped": "yes" if cuped and cuped["enabled"] else "",
        "days": str(cuped["lookback_days"] if cuped else _DAYS),
        "seen": write_moment(project.updated_at),
    }
    if len(project.test_account_filters) > _MOST_ROWS:
        return fields | {"json": "yes"}
    for place, condition in enumerate(project.test_account_filters):
        fields |= {f"c{place}_{name}": text for name, text in write_condition(condition).items()}
    return fields


def read_project(project: Project, fields: Fields, errors: dict[str, str]) -> Json:
    """Return what a form changes of a project, as the API takes it."""
    form = Row(fields, "", errors)
    document: Json = {
        "name": keep_text(form.required("name", "Give the project a name."), project.name),
        "timezone": form.required("timezone", "Name a time zone, such as Europe/Amsterdam."),
        "anonymize_ips": bool(form.text("anonymize")),
        "default_attribution": form.text("attribution"),
        "default_cuped": _read_cuped(project, form),
    }
    if "json" not in fields:
        rows = [Row(fields, f"c{place}_", errors) for place in range(count_rows(fields, "c"))]
        document["test_account_filters"] = [one for row in rows if (one := read_condition(row)) is not None]
    return {name: value for name, value in document.items() if value != getattr(project, name)}


def _read_cuped(project: Project, form: Row) -> Json | None:
    days = form.integer("days")
    config = {"enabled": bool(form.text("cuped")), "lookback_days": _DAYS if days is None else days}
    is_unsaid = project.default_cuped is None and not config["enabled"]
    return None if is_unsaid else config
