"""Turns the fields of a form into the documents that the API takes, and experiments into fields."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from uuid import uuid4

from app.common.errors import ValidationFailed
from app.common.timestamps import write_moment
from app.db.models import Experiment, SavedMetric
from app.experiments.documents import GROUP_TYPE
from app.experiments.scorecard.decision_criteria import DEFAULT_EFFECT, DEFAULT_RUNTIME
from app.experiments.scorecard.experiment_metrics import PRIMARY
from app.flags.filters import PLANNED_VARIANTS, variant_keys
from app.metrics.queries.parsing import define_target
from app.pages.editing.conditions import read_condition
from app.pages.editing.exposure import place_of_exposure
from app.pages.editing.metrics import (
    OF_2022,
    kind_of,
    read_filters,
    read_secondary_of_2022,
    read_typed,
    try_to_write,
    without_fingerprint,
    write_filters,
    write_secondary_of_2022,
    write_typed,
)
from app.pages.editing.rows import Fields, Row, as_json_number, count_rows, keep_text, write_number
from app.pages.editing.settings import SettingsReader, changed_settings, check_ramp, place_of_setting, write_settings

Json = dict[str, Any]

PLANNED: Final = ("minimum_detectable_effect", "recommended_sample_size", "recommended_running_time")
_DEFAULT_CRITERIA: Final = {"target_mde": DEFAULT_EFFECT, "minimum_runtime_days": DEFAULT_RUNTIME}
# Where an error of the API is shown, besides those of metrics.
_PLACES: Final[Mapping[str, str]] = {
    "name": "name",
    "description": "description",
    "key": "flag_key",
    "feature_flag_key": "flag_key",
    "unit": "unit",
    "secondary_metrics": "metrics",
    "decision_criteria__target_mde": "effect",
    "decision_criteria__minimum_runtime_days": "days",
}
# What of a metric's document a field of the form says.
_FIELDS_OF_METRICS: Final[Mapping[str, str]] = {
    "name": "name",
    "conversion_window": "window",
    "non_inferiority_margin": "margin",
    "quantile_level": "quantile",
    "source__event": "event",
    "source__math_property": "property",
    "numerator__event": "event",
    "numerator__math_property": "property",
    "denominator__event": "below_event",
    "denominator__math_property": "below_property",
    "start_event__event": "start",
    "completion_event__event": "event",
    "retention_window_start": "from",
    "retention_window_end": "until",
}
# What writes the fields of stored metrics, by where they are stored.
_WRITERS: Final[Mapping[str, Callable[[Json], dict[str, str]]]] = {
    "metrics": write_typed,
    "secondary_metrics": write_secondary_of_2022,
    "metrics_secondary": write_typed,
}


def blank_fields() -> dict[str, str]:
    """Return the fields of the form for a new experiment."""
    return {
        "v0_key": "control",
        "v0_share": "50",
        "v1_key": "test",
        "v1_share": "50",
        "m0_kind": "funnel",
        "m0_uuid": new_reference(),
        "level": "95",
        "effect": write_number(100 * DEFAULT_EFFECT),
        "days": write_number(DEFAULT_RUNTIME),
    }


def fields_of(experiment: Experiment) -> dict[str, str]:
    """Return the fields of the form for an experiment. Its split and its participants are its flag's."""
    criteria = experiment.decision_criteria or {}
    fields = {
        "name": experiment.name,
        "description": experiment.description or "",
        "effect": write_number(100 * criteria.get("target_mde", DEFAULT_EFFECT)),
        "days": write_number(criteria.get("minimum_runtime_days", DEFAULT_RUNTIME)),
        "preset": criteria.get("preset", "clear_signals"),
        "seen": write_moment(experiment.updated_at),
    }
    rows: list[dict[str, str]] = []
    if define_target(experiment.filters or {}, beside_typed=True):
        rows.append({**write_filters(experiment.filters), "goal": criteria.get("goal", "increase")})
    elif not experiment.metrics:  # another metric leads: the first row stays empty
        rows.append({"kind": "funnel"})
    rows += [{**write_typed(metric), "list": "metrics"} for metric in experiment.metrics or ()]
    listed = experiment.secondary_metrics if isinstance(experiment.secondary_metrics, list) else []
    rows += [write_secondary_of_2022(metric) for metric in listed if isinstance(metric, dict)]
    rows += [{**write_typed(metric), "list": "metrics_secondary"} for metric in experiment.metrics_secondary or ()]
    names: dict[str, str] = {}
    of_2022 = 0
    for index, row in enumerate(rows):
        uuid = row.setdefault("uuid", "") or new_reference()
        if index and row["kind"] in OF_2022:
            names[f"secondary-{of_2022}"] = uuid
            of_2022 += 1
        fields |= {f"m{index}_{name}": value for name, value in row.items()} | {f"m{index}_uuid": uuid}
    return fields | write_settings(experiment, names)


def new_reference() -> str:
    """Return what names a metric within a form, and is its uuid if it is typed."""
    return str(uuid4())


def metric_choices(fields: Fields, saved: Sequence[SavedMetric]) -> dict[str, str]:
    """Return the metrics that circuit breakers of a form may watch, by what names them in it."""
    choices = {"": "none", PRIMARY: "The target metric"}
    for index in range(1, count_rows(fields, "m")):
        row = Row(fields, f"m{index}_", {})
        if reference := row.text("uuid"):
            choices[reference] = row.text("name") or f"Metric {index + 1}"
    counted = {fields.get(f"s{place}_id") for place in range(count_rows(fields, "s"))}
    choices |= {str(one.query["uuid"]): one.name for one in saved if str(one.id) in counted}
    for place in range(count_rows(fields, "b")):
        chosen = fields.get(f"b{place}_metric", "")
        choices.setdefault(chosen, "The target metric" if chosen == fields.get("m0_uuid") else chosen)
    return choices


class DraftReader:
    """Reads the fields of a form, and collects what is wrong with each of them."""

    def __init__(self, fields: Fields) -> None:
        self.errors: dict[str, str] = {}
        self._fields = fields
        self._form = Row(fields, "", self.errors)
        # Where each metric of a document stands in the form, by the document's name for it.
        self._rows_of: dict[str, list[int]] = {"filters": [], "metrics": [], "metrics_secondary": []}
        self._may_lack_target = bool(SettingsReader(fields, {}).read_saved())
        self._metric_ids: dict[str, str] = {}  # the API's names of metrics, by the form's

    def read_new(self) -> Json:
        """Return what creates an experiment."""
        uses_existing = bool(self._form.text("use_existing"))
        metrics = self._read_metrics()
        document: Json = {
            **self._read_texts(),
            "feature_flag_key": self._form.required("flag_key", "Choose a key: the code asks for the flag by it."),
            "allow_existing_flag": uses_existing,
            **metrics,
            **SettingsReader(self._fields, self.errors, metric_ids=self._metric_ids).read(),
        }
        variants = [] if uses_existing else self._read_variants()
        parameters: Json = {} if uses_existing else {PLANNED_VARIANTS: variants}
        if not uses_existing:
            self._check_baseline([variant["key"] for variant in variants])
        document["parameters"] = parameters | self._read_plan()
        if not uses_existing and (group_type := self.read_group_type()) is not None:
            document["parameters"][GROUP_TYPE] = group_type
        document["decision_criteria"] = self._read_criteria({})
        if document.get("filters") and (conditions := self.read_participants()):
            document["filters"] = {**document["filters"], "properties": conditions}
        return document

    def read_change(self, experiment: Experiment) -> Json:
        """Return what changes an experiment, besides what it holds that no form shows."""
        kept = experiment.filters or {}
        had_target = bool(experiment.metrics) or define_target(kept, beside_typed=True)
        self._may_lack_target = self._may_lack_target or not had_target
        document: Json = {**self._read_texts(), **self._read_metrics()}
        document["name"] = keep_text(document["name"], experiment.name)
        document["description"] = keep_text(document["description"], experiment.description, lines=True)
        for name, write in _WRITERS.items():
            document[name] = _as_stored(document[name], getattr(experiment, name), write)
        if document["filters"]:
            properties = {"properties": kept["properties"]} if "properties" in kept else {}
            document["filters"] = {**document["filters"], **properties}
        elif not define_target(kept, beside_typed=True):
            del document["filters"]
        plan = self._read_plan()
        parameters = experiment.parameters if isinstance(experiment.parameters, dict) else {}
        if any(parameters.get(name) != value for name, value in plan.items()):
            document["parameters"] = parameters | plan
        settings = SettingsReader(self._fields, self.errors, experiment, self._metric_ids).read()
        check_ramp(settings, experiment, self.errors)
        document |= changed_settings(settings, experiment)
        if "stats_config" in document:
            self._check_baseline(variant_keys(experiment.feature_flag.filters))
        stored = experiment.decision_criteria or {}
        # The goal of a target of 2022 is not that of a typed one in its place.
        is_replaced = define_target(kept, beside_typed=True) and not document["filters"]
        kept_criteria = _without_goal(stored) if is_replaced else stored
        if (criteria := self._read_criteria(kept_criteria)) != _DEFAULT_CRITERIA | stored:
            document["decision_criteria"] = criteria
        return document

    def read_group_type(self) -> int | None:
        """Return the index of the type of groups that a new experiment assigns; None where it assigns persons."""
        return self._form.integer("unit")

    def read_participants(self) -> list[Json]:
        """Return the conditions on persons, or on groups of the type that is assigned."""
        rows = [Row(self._fields, f"c{index}_", self.errors) for index in range(count_rows(self._fields, "c"))]
        group_type = self.read_group_type()
        return [condition for row in rows if (condition := read_condition(row, group_type)) is not None]

    def refuse(self, refusal: ValidationFailed) -> None:
        """Place an error of the API beside the field that it is about."""
        self.errors.setdefault(self._place(refusal.attr or "", refusal.detail), refusal.detail)

    def _place(self, attr: str, detail: str) -> str:
        if attr in _PLACES:
            return _PLACES[attr]
        if attr.startswith("exposure_criteria"):
            return place_of_exposure(attr, self._fields)
        if place := place_of_setting(attr, detail):
            return place
        if PLANNED_VARIANTS in detail or "ariant" in detail:
            return "variants"
        for document, rows in self._rows_of.items():
            match = re.fullmatch(rf"{document}(?:__(\d+))?(?:__(.*))?", attr)
            if match and rows:
                index = rows[min(int(match[1] or 0), len(rows) - 1)]
                return f"m{index}_{field_of_metric(match[2] or '')}"
        return "form"

    def _read_texts(self) -> Json:
        return {
            "name": self._form.required("name", "Give the experiment a name."),
            "description": self._form.text("description") or None,
        }

    def _read_variants(self) -> list[Json]:
        rows = [Row(self._fields, f"v{index}_", self.errors) for index in range(count_rows(self._fields, "v"))]
        named = [row for row in rows if row.text("key") or row.text("share")]
        shares = [row.number("share") for row in named]
        if all(share is None for share in shares):
            shares = list(_even_shares(len(named)))
        found = []
        for row, share in zip(named, shares, strict=True):
            key = row.required("key", "Every variant needs a key.")
            if share is None:
                row.refuse("share", "Give every variant a share, or none of them.")
            variant: Json = {"key": key, "rollout_percentage": as_json_number(share or 0)}
            if name := row.text("name"):
                variant["name"] = name
            found.append(variant)
        if len(found) < 2:
            self.errors.setdefault("variants", "An experiment compares at least two variants.")
        return found

    def _check_baseline(self, variants: Sequence[str]) -> None:
        baseline = self._form.text("compare_with")
        if baseline and baseline not in variants:
            self._form.refuse("compare_with", "This is none of the variants.")

    def _is_left_out(self, row: Row) -> bool:
        """Whether nothing is said of the target metric, which another one is instead."""
        if kind_of(row) == "json":
            return not row.text("json") and self._may_lack_target
        said = {name for name, value in self._fields.items() if name.startswith(row.prefix) and value.strip()}
        unseen = ("kind", "goal", "uuid", "math", "below_math", "list", "role", "margin")
        is_empty = said <= {row.prefix + name for name in unseen}
        return is_empty and self._may_lack_target

    def _read_metrics(self) -> Json:
        metrics: Json = {"filters": {}, "secondary_metrics": [], "metrics": [], "metrics_secondary": []}
        for index in range(count_rows(self._fields, "m")):
            row = Row(self._fields, f"m{index}_", self.errors)
            if index == 0 and self._is_left_out(row):
                continue
            reference = row.text("uuid")
            if kind_of(row) in OF_2022:
                if index == 0:
                    metrics["filters"] = read_filters(row)
                    self._rows_of["filters"].append(index)
                else:
                    self._metric_ids[reference] = f"secondary-{len(metrics['secondary_metrics'])}"
                    metrics["secondary_metrics"].append(read_secondary_of_2022(row))
                continue
            chosen = "metrics" if index == 0 or row.text("list") == "metrics" else "metrics_secondary"
            metric = read_typed(row)
            if reference:
                self._metric_ids[reference] = metric.setdefault("uuid", reference)
            metrics[chosen].append(metric)
            self._rows_of[chosen].append(index)
        for name in ("metrics", "metrics_secondary"):
            metrics[name] = metrics[name] or None
        return metrics

    def _read_plan(self) -> Json:
        """Return the plan that the form shows, under the names of 2022."""
        effect, size = self._form.number("effect"), self._form.number("planned_size")
        sizes = (effect, size, self._form.number("planned_days"))
        if size is None:  # it was not planned
            return {}
        return {name: as_json_number(size) for name, size in zip(PLANNED, sizes, strict=True) if size is not None}

    def _read_criteria(self, kept: Mapping[str, Any]) -> Json:
        criteria = _without_goal(kept)
        if (effect := self._form.share("effect")) is not None:
            criteria["target_mde"] = effect
        if (days := self._form.number("days")) is not None:
            criteria["minimum_runtime_days"] = days
        if self._form.text("preset") == "do_no_harm":
            criteria["preset"] = "do_no_harm"
        elif "preset" in criteria:
            criteria["preset"] = "clear_signals"
        first = Row(self._fields, "m0_", {})
        if kind_of(first) not in OF_2022:  # which say themselves what is better
            return criteria | {name: kept[name] for name in ("goal",) if name in kept}
        if first.text("goal") == "decrease" or "goal" in kept:
            criteria["goal"] = "decrease" if first.text("goal") == "decrease" else "increase"
        return criteria


def _without_goal(criteria: Mapping[str, Any]) -> Json:
    return {name: value for name, value in criteria.items() if name != "goal"}


def _as_stored(read: list[Json] | None, stored: object, write: Callable[[Json], dict[str, str]]) -> object:
    """Return metrics of a form; those of which it says what it said of stored ones are as they are stored."""
    before = [one for one in stored if isinstance(one, dict)] if isinstance(stored, list) else []
    if not read and not before:
        return stored
    written: list[dict[str, str] | None] = [write(one) for one in before]
    found = []
    for metric in read or ():
        place = written.index(said) if (said := try_to_write(write, metric)) in written else None
        if place is None:
            found.append(metric)
        else:
            written.pop(place)
            found.append(without_fingerprint(before.pop(place)))
    return found or read


def field_of_metric(place: str) -> str:
    """Return the field that says what stands at a place of a metric's document."""
    if match := re.match(r"series__(\d+)", place):
        return f"step{match[1]}"
    return _FIELDS_OF_METRICS.get(place, "kind")


def _even_shares(count: int) -> Sequence[int]:
    """Return whole percentages that sum to 100."""
    share, rest = divmod(100, count or 1)
    return [share + (place < rest) for place in range(count)]
