"""Settings of an experiment, from who counts in it to what happens by itself: fields of a form, and back."""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from app.accounts.projects.schemas import CupedConfig
from app.common.timestamps import parse_moment, write_moment
from app.db.models import Experiment
from app.experiments.automation.schemas import MOST_BREAKERS, MOST_STEPS, BreakerAction, default_ramp
from app.flags.interventions import rollout_of
from app.pages.editing.exposure import read_exposure, write_exposure
from app.pages.editing.rows import Fields, Row, as_one_line, count_rows, without_rows, write_number

Json = dict[str, Any]

MOST_SAVED: Final = 30
MOST: Final[Mapping[str, int]] = {"r": MOST_STEPS, "b": MOST_BREAKERS, "s": MOST_SAVED}
BREAKER_ACTIONS: Final[Mapping[BreakerAction, str]] = {
    "notify": "only report it",
    "pause": "pause: switch the flag off",
    "control_only": "give all of them the baseline",
}
HARMS: Final[Mapping[str, str]] = {"decrease": "falls by more than", "increase": "rises by more than"}
SAVED_TYPES: Final[Mapping[str, str]] = {"secondary": "a further metric", "primary": "the target metric"}
_DEFAULT_LEVEL: Final = 0.95
_DEFAULT_EXPOSURES: Final = 100
_NO_MOMENT: Final = "This has to be a date and a time, such as 2026-12-24 18:00."
_OF_THE_FORM: Final = ("confidence_level", "baseline_variant_key", "excluded_variants", "cuped")
CUPED: Final[Mapping[str, str]] = {"": "as the project says", "yes": "yes", "no": "no"}
_CUPED_DAYS: Final = CupedConfig().lookback_days


# Where errors of the API are shown: in the card of a setting, or beside a field of one of its rows.
_PLACES: Final[Mapping[str, str]] = {
    "scheduling_config": "schedule",
    "scheduling_config__start_at": "start_at",
    "scheduling_config__end_at": "end_at",
    "circuit_breakers": "breakers",
    "saved_metrics_ids": "saved",
    "holdout_id": "holdout",
    "stats_config": "compare_with",
    "stats_config__confidence_level": "level",
    "stats_config__excluded_variants": "left_out",
    "stats_config__cuped__lookback_days": "cuped_days",
    "stats_config__baseline_variant_key": "compare_with",
}
_ROWS: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = {
    "scheduling_config": ("r", {"after_hours": "hours", "rollout_percentage": "share"}),
    "circuit_breakers": (
        "b",
        {"metric_uuid": "metric", "threshold_relative": "threshold", "min_exposures": "persons", "action": "action"},
    ),
    "saved_metrics_ids": ("s", {"id": "id"}),
}


def usual_ramp(fields: Fields) -> dict[str, str]:
    """Return the fields with the usual steps of a rollout in place of others."""
    return without_rows(fields, "r") | _write_ramp(default_ramp())


class SettingsReader:
    """Reads the settings of a form. ``stored`` are those of the experiment, whose other keys are kept.

    ``metric_ids`` are the API's names of the form's metrics, by the uuid that their rows hold.
    """

    def __init__(
        self,
        fields: Fields,
        errors: dict[str, str],
        stored: Experiment | None = None,
        metric_ids: Mapping[str, str] | None = None,
    ) -> None:
        self._fields = fields
        self._errors = errors
        self._form = Row(fields, "", errors)
        self._stored = stored
        self._metric_ids = metric_ids or {}

    def read(self) -> Json:
        """Return the settings as the API takes them."""
        return {
            "stats_config": self._read_stats(),
            "scheduling_config": self._read_schedule(),
            "circuit_breakers": self._read_breakers(),
            "saved_metrics_ids": self.read_saved(),
            "holdout_id": self._form.integer("holdout"),
            "exposure_criteria": read_exposure(self._fields, self._errors),
            "only_count_matured_users": bool(self._form.text("matured")),
        }

    def read_saved(self) -> list[Json] | None:
        """Return the shared metrics that the experiment counts, with what else their links say, as breakdowns."""
        links = (self._stored.saved_metrics_ids if self._stored else None) or ()
        stored = {link["id"]: link.get("metadata") or {} for link in links}
        found = []
        for row in self._rows("s"):
            metric_id = row.integer("id")
            if metric_id is not None:
                kind = "primary" if row.text("type") == "primary" else "secondary"
                found.append({"id": metric_id, "metadata": {**stored.get(metric_id, {}), "type": kind}})
        return found or None

    def _read_stats(self) -> Json | None:
        kept = (self._stored.stats_config if self._stored else None) or {}
        config = {name: value for name, value in kept.items() if name not in _OF_THE_FORM}
        if (level := self._form.share("level")) is not None and (level != _DEFAULT_LEVEL or "confidence_level" in kept):
            config["confidence_level"] = level
        if baseline := self._form.text("compare_with"):
            config["baseline_variant_key"] = baseline
        for name, write, read in (
            ("excluded_variants", _write_left_out, self._read_left_out),
            ("cuped", _write_cuped, self._read_cuped),
        ):
            # What shows nothing else than what is stored stays as it is stored.
            if all(self._form.text(field) == as_one_line(text) for field, text in write(kept).items()):
                config |= {name: kept[name]} if name in kept else {}
            else:
                config |= read()
        return config or None

    def _read_left_out(self) -> Json:
        keys = [key.strip() for key in self._form.text("left_out").split(",") if key.strip()]
        return {"excluded_variants": keys} if keys else {}

    def _read_cuped(self) -> Json:
        days, choice = self._form.integer("cuped_days"), self._form.text("cuped")
        if choice == "yes":
            return {"cuped": {"enabled": True, "lookback_days": _CUPED_DAYS if days is None else days}}
        if days is not None:
            self._form.refuse("cuped_days", "These days are of the adjustment: choose it, or leave them out.")
        return {"cuped": None} if choice == "no" else {}

    def _read_schedule(self) -> Json | None:
        schedule: Json = {}
        for name in ("start_at", "end_at"):
            if (moment := self._read_moment(name)) is not None:
                schedule[name] = moment
        if ramp := self._read_ramp():
            schedule["ramp"] = ramp
        return schedule or None

    def _read_moment(self, name: str) -> str | None:
        """Return a moment of the form, which is in UTC."""
        text = self._form.text(name)
        if not text:
            return None
        moment = parse_moment(text)
        if moment is None:
            self._form.refuse(name, _NO_MOMENT)
            return None
        kept = str(((self._stored.scheduling_config if self._stored else None) or {}).get(name) or "")
        # The field shows whole seconds: what it showed is still the stored moment, to the microsecond.
        return kept if parse_moment(_write_moment(kept)) == moment else write_moment(moment)

    def _read_ramp(self) -> list[Json]:
        steps: list[Json] = []
        rows = [row for row in self._rows("r") if row.text("hours") or row.text("share")]
        for row in rows:
            hours, share = row.number("hours"), row.number("share")
            for name, value in (("hours", hours), ("share", share)):
                if value is None:
                    row.refuse(name, "Every step needs both numbers.")
            steps.append({"after_hours": hours or 0.0, "rollout_percentage": share or 0.0})
        if steps and steps[0]["after_hours"]:
            rows[0].refuse("hours", "The first step is the share at the start itself: 0 hours after it.")
        for row, (earlier, later) in zip(rows[1:], pairwise(steps), strict=True):
            if later["after_hours"] <= earlier["after_hours"]:
                row.refuse("hours", "Each step is later than the one before.")
            if later["rollout_percentage"] <= earlier["rollout_percentage"]:
                row.refuse("share", "Each step has a larger share than the one before.")
        return steps

    def _read_breakers(self) -> list[Json] | None:
        found = []
        for row in self._rows("b"):
            metric = row.text("metric")
            if not metric:
                continue
            threshold, persons, action = row.share("threshold"), row.integer("persons"), row.text("action")
            if threshold is None:
                row.refuse("threshold", "Say how much is tolerated, in percent.")
            found.append(
                {
                    "metric_uuid": self._metric_ids.get(metric, metric),
                    "direction": "increase" if row.text("direction") == "increase" else "decrease",
                    "threshold_relative": threshold or 0.0,
                    "min_exposures": _DEFAULT_EXPOSURES if persons is None else persons,
                    "action": action if action in BREAKER_ACTIONS else "notify",
                }
            )
        return found or None

    def _rows(self, kind: str) -> Sequence[Row]:
        return [Row(self._fields, f"{kind}{place}_", self._errors) for place in range(count_rows(self._fields, kind))]


def write_settings(experiment: Experiment, metrics: Mapping[str, str]) -> dict[str, str]:
    """Return the fields of an experiment's settings. ``metrics`` are the uuids of the form by the API's names."""
    stats, schedule = experiment.stats_config or {}, experiment.scheduling_config or {}
    fields = {
        "level": write_number(100 * stats.get("confidence_level", _DEFAULT_LEVEL)),
        "compare_with": str(stats.get("baseline_variant_key") or ""),
        **_write_left_out(stats),
        **_write_cuped(stats),
        "holdout": str(experiment.holdout_id or ""),
        **write_exposure(experiment.exposure_criteria),
        "matured": "yes" if experiment.only_count_matured_users else "",
        "start_at": _write_moment(schedule.get("start_at")),
        "end_at": _write_moment(schedule.get("end_at")),
        **_write_ramp(schedule.get("ramp") or ()),
    }
    for place, link in enumerate(experiment.saved_metrics_ids or ()):
        kind = link.get("metadata", {}).get("type", "secondary")
        fields |= {f"s{place}_id": str(link["id"]), f"s{place}_type": kind}
    for place, breaker in enumerate(experiment.circuit_breakers or ()):
        metric = str(breaker["metric_uuid"])
        fields |= {
            f"b{place}_metric": metrics.get(metric.lower(), metric),
            f"b{place}_direction": breaker["direction"],
            f"b{place}_threshold": write_number(100 * breaker["threshold_relative"]),
            f"b{place}_persons": str(breaker.get("min_exposures", _DEFAULT_EXPOSURES)),
            f"b{place}_action": breaker["action"],
        }
    return fields


def changed_settings(now: Json, experiment: Experiment) -> Json:
    """Return the settings of a form that differ from those of the experiment."""
    before = SettingsReader(write_settings(experiment, {}), {}, experiment).read()
    return {name: value for name, value in now.items() if value != before[name]}


def check_ramp(now: Json, experiment: Experiment, errors: dict[str, str]) -> None:
    """Refuse another ramp of a started experiment if as many as at its end get it already: it would change nothing."""
    ramp = (now["scheduling_config"] or {}).get("ramp")
    before = SettingsReader(write_settings(experiment, {}), {}, experiment).read()["scheduling_config"] or {}
    rollout = rollout_of(experiment.feature_flag.filters)
    if not ramp or ramp == before.get("ramp") or experiment.start_date is None or rollout is None:
        return
    if ramp[-1]["rollout_percentage"] <= rollout:
        already = f"A ramp never lowers the share, and {rollout:g} % get it already"
        errors.setdefault("schedule", f"{already}: lower the flag's rollout first, or leave the ramp out.")


def place_of_setting(attr: str, detail: str) -> str | None:
    """Return the field beside which an error of a setting is shown; None where it is of something else."""
    name, _, rest = attr.partition("__")
    if name == "scheduling_config" and (named := re.match(r"`(start_at|end_at)`", detail)):
        return named[1]
    if attr in _PLACES:
        return _PLACES[attr]
    if name not in _ROWS:
        return None
    kind, fields = _ROWS[name]
    match = re.match(r"(?:ramp)?(?:__)?(\d+)__(\w+)", rest)
    return f"{kind}{match[1]}_{fields[match[2]]}" if match and match[2] in fields else _PLACES[name]


def _write_left_out(stats: Mapping[str, Any]) -> dict[str, str]:
    return {"left_out": ", ".join(stats.get("excluded_variants") or ())}


def _write_cuped(stats: Mapping[str, Any]) -> dict[str, str]:
    if "cuped" not in stats:
        return {"cuped": "", "cuped_days": ""}
    cuped = stats["cuped"]
    if cuped is None or not cuped.get("enabled", True):
        return {"cuped": "no", "cuped_days": ""}
    return {"cuped": "yes", "cuped_days": str(cuped.get("lookback_days", _CUPED_DAYS))}


def _write_ramp(steps: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    fields = {}
    for place, step in enumerate(steps):
        fields[f"r{place}_hours"] = write_number(step["after_hours"])
        fields[f"r{place}_share"] = write_number(step["rollout_percentage"])
    return fields


def _write_moment(text: str | None) -> str:
    """Return a stored moment as a field for a date and a time holds it, in UTC."""
    moment = parse_moment(text or "")
    if moment is None:
        return ""
    return moment.replace(tzinfo=None).isoformat(timespec="seconds" if moment.second else "minutes")
