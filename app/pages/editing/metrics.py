"""Metrics of a form: a simple form of each kind, and JSON for what it cannot say."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic import JsonValue, TypeAdapter, ValidationError

from app.common import limits
from app.common.nouns import who
from app.metrics.aggregation.person_values import NUMERIC
from app.metrics.queries.typed.schemas import TypedMetric
from app.pages.editing.rows import Row, is_one_line, read_json_object, write_number

Json = dict[str, Any]

# ``{unit}`` stands for what is compared, and ``{who}`` for its pronoun: see ``in_words``.
KINDS: Final[Mapping[str, str]] = {
    "funnel": "Share of {unit} {who} do it",
    "mean": "Average over {unit}",
    "ratio": "Ratio of two numbers",
    "retention": "Share of {unit} {who} come back",
    "quantile": "Median or quantile over {unit}",
    "trend_2022": "Trend, as in 2022",
    "funnel_2022": "Funnel, as in 2022",
    "json": "Anything else, as JSON",
}
# Offered only where a metric is this already: new ones have a form, or are typed.
KINDS_OF_2022: Final[Mapping[str, str]] = {"json_2022": "Filters of 2022, as JSON", **KINDS}
OF_2022: Final = ("trend_2022", "funnel_2022", "json_2022")
MATHS: Final[Mapping[str, str]] = {
    "total": "number of events",
    "sum": "sum of a property",
    "avg": "mean of a property",
    "min": "smallest value of a property",
    "max": "largest value of a property",
    "dau": "1 for {unit} {who} did it",
    "unique_session": "number of sessions",
}
_MEDIAN: Final = 0.5
_NEEDS_EVENT: Final = "Name the event."
_NEEDS_PROPERTY: Final = "Name the property whose numbers count."
_TYPED: Final[TypeAdapter[TypedMetric]] = TypeAdapter(TypedMetric)
# What a metric has beside the events that it counts.
_OWN: Final = ("name", "goal", "role", "non_inferiority_margin")


def in_words(texts: Mapping[str, str], unit: str) -> dict[str, str]:
    """Return texts that speak of ``unit``, which is what the experiment compares, in the plural."""
    return {name: text.format(unit=unit, who=who(unit)) for name, text in texts.items()}


def kind_of(row: Row) -> str:
    """Return the kind that a form chose; one that it does not know is a share."""
    kind = row.text("kind")
    return kind if kind in KINDS_OF_2022 else "funnel"


def read_typed(row: Row) -> Json:
    """Return the metric of a form, as the API takes it. What is missing is an error beside its field."""
    kind = kind_of(row)
    if kind == "json":
        return read_json_object(row, "json")
    metric: Json = {"metric_type": kind, **_read_own(row)}
    if uuid := row.text("uuid"):
        metric["uuid"] = uuid
    if (window := row.integer("window")) is not None:
        metric |= {"conversion_window": window, "conversion_window_unit": "day"}
    if kind == "mean":
        metric["source"] = _read_source(row, "")
    elif kind == "funnel":
        metric["series"] = [_node(step) for step in _read_steps(row)]
    elif kind == "ratio":
        metric |= {"numerator": _read_source(row, ""), "denominator": _read_source(row, "below_")}
    elif kind == "quantile":
        level = row.share("quantile")
        metric |= {"quantile_level": _MEDIAN if level is None else level, "source": _read_source(row, "")}
    else:
        start = row.text("start")
        first, last = row.integer("from"), row.integer("until")
        metric |= {
            "start_event": _node(start) if start else {"kind": "ExperimentExposureNode"},
            "completion_event": _node(row.required("event", _NEEDS_EVENT)),
            "retention_window_start": 1 if first is None else first,
            "retention_window_end": 7 if last is None else last,
        }
    return metric


def read_filters(row: Row) -> Json:
    """Return the filters of a metric of 2022."""
    kind = kind_of(row)
    if kind == "json_2022":
        return read_json_object(row, "json")
    if kind == "funnel_2022":
        steps = _read_steps(row)
        if len(steps) == 1:
            row.refuse("step1", "A funnel of 2022 has at least two steps: the first is where they begin.")
        return {
            "insight": "FUNNELS",
            "events": [{"id": step, "order": place, "type": "events"} for place, step in enumerate(steps)],
        }
    source = _read_source(row, "")
    entity = {"id": source["event"], "order": 0, "type": "events"}
    return {
        "insight": "TRENDS",
        "events": [entity | {name: source[name] for name in ("math", "math_property") if name in source}],
    }


def read_secondary_of_2022(row: Row) -> Json:
    return {**_read_own(row), "filters": read_filters(row)}


def write_typed(body: Mapping[str, JsonValue]) -> dict[str, str]:
    """Return the fields of a stored metric, without their prefix."""
    kind = str(body.get("metric_type"))
    fields = {"kind": kind, "uuid": str(body.get("uuid", "")), **_write_own(body)}
    fields["window"] = str(body.get("conversion_window") or "")
    if kind == "funnel":
        fields |= {f"step{place}": _event_of(step) for place, step in enumerate(_listed(body.get("series")))}
    elif kind == "mean":
        fields |= _write_source(body.get("source"), "")
    elif kind == "ratio":
        fields |= _write_source(body.get("numerator"), "") | _write_source(body.get("denominator"), "below_")
    elif kind == "quantile":
        level = body.get("quantile_level")
        fields |= _write_source(body.get("source"), "")
        fields["quantile"] = write_number(100 * level) if isinstance(level, int | float) else ""
    else:
        fields |= {
            "start": _event_of(body.get("start_event")),
            "event": _event_of(body.get("completion_event")),
            "from": str(body.get("retention_window_start")),
            "until": str(body.get("retention_window_end")),
        }
    if all(map(is_one_line, fields.values())) and _counts_the_same(read_typed(Row(fields, "", {})), body):
        return fields
    # The JSON says its own name and role: forms hide these fields until another kind is chosen.
    text = json.dumps(without_fingerprint(body), indent=2, ensure_ascii=False)
    return {"kind": "json", "json": text, **_write_own(body)}


def write_filters(filters: Mapping[str, JsonValue]) -> dict[str, str]:
    """Return the fields of a metric of 2022."""
    entities = [entity for entity in _listed(filters.get("events")) if isinstance(entity, dict)]
    if filters.get("insight") == "FUNNELS":
        fields = {"kind": "funnel_2022"}
        fields |= {f"step{place}": str(entity.get("id")) for place, entity in enumerate(entities)}
    else:
        first = entities[0] if entities else {}
        fields = {"kind": "trend_2022", "event": str(first.get("id", "")), "math": str(first.get("math", "total"))}
        fields["property"] = str(first.get("math_property") or "")
    said = {name: value for name, value in filters.items() if name != "properties"}
    if all(map(is_one_line, fields.values())) and read_filters(Row(fields, "", {})) == said:
        return fields
    return {"kind": "json_2022", "json": json.dumps(said, indent=2, ensure_ascii=False)}


def write_secondary_of_2022(body: Mapping[str, JsonValue]) -> dict[str, str]:
    filters = body.get("filters")
    return _write_own(body) | write_filters(filters if isinstance(filters, dict) else {})


def try_to_write(write: Callable[[Json], dict[str, str]], metric: Json) -> dict[str, str] | None:
    """Return the fields of what a form sent; None of JSON that is like no metric, which the API refuses."""
    try:
        return write(metric)
    except (OverflowError, RecursionError):
        return None


def without_fingerprint(body: Mapping[str, JsonValue]) -> Json:
    return {name: value for name, value in body.items() if name != "fingerprint"}


def events_of(row: Row) -> list[str]:
    """Return the events that a metric names, in order; those of JSON are left out."""
    kind = kind_of(row)
    if kind in {"funnel", "funnel_2022"}:
        return _steps(row)
    names = {"ratio": ("event", "below_event"), "retention": ("start", "event")}.get(kind, ("event",))
    return [] if kind.startswith("json") else [event for name in names if (event := row.text(name))]


def _read_own(row: Row) -> Json:
    own: Json = {}
    if name := row.text("name"):
        own["name"] = name
    if row.text("goal") == "decrease":
        own["goal"] = "decrease"
    if row.text("role") == "guardrail":
        own["role"] = "guardrail"
        if (margin := row.share("margin")) is not None:
            own["non_inferiority_margin"] = margin
    return own


def _write_own(body: Mapping[str, JsonValue]) -> dict[str, str]:
    margin = body.get("non_inferiority_margin")
    return {
        "name": str(body.get("name") or ""),
        "goal": str(body.get("goal", "increase")),
        "role": str(body.get("role", "secondary")),
        "margin": write_number(100 * margin) if isinstance(margin, int | float) else "",
    }


def _read_source(row: Row, which: str) -> Json:
    source: Json = _node(row.required(f"{which}event", _NEEDS_EVENT))
    math = row.text(f"{which}math")
    if math in MATHS and math != "total":
        source["math"] = math
    if math in NUMERIC:
        source["math_property"] = row.required(f"{which}property", _NEEDS_PROPERTY)
    return source


def _write_source(source: JsonValue, which: str) -> dict[str, str]:
    node = source if isinstance(source, dict) else {}
    return {
        f"{which}event": _event_of(source),
        f"{which}math": str(node.get("math", "total")),
        f"{which}property": str(node.get("math_property") or ""),
    }


def _read_steps(row: Row) -> list[str]:
    steps = _steps(row)
    if not steps:
        row.refuse("step0", _NEEDS_EVENT)
    return steps


def _steps(row: Row) -> list[str]:
    return [step for place in range(limits.FUNNEL_STEPS.value) if (step := row.text(f"step{place}"))]


def _counts_the_same(read: Json, stored: Mapping[str, JsonValue]) -> bool:
    """Whether a form said everything of a stored metric."""
    try:
        mine, other = _TYPED.validate_python(read), _TYPED.validate_python(without_fingerprint(stored))
    except ValidationError:
        return False
    return mine.own_fingerprint == other.own_fingerprint and all(
        getattr(mine, name) == getattr(other, name) for name in _OWN
    )


def _node(event: str) -> Json:
    return {"kind": "EventsNode", "event": event}


def _event_of(node: JsonValue) -> str:
    return str(node.get("event") or "") if isinstance(node, dict) else ""


def _listed(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []
