"""Says in words what a metric of 2022 measures, and what events it counts; names stand in backticks."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from pydantic import JsonValue

from app.common.errors import ValidationFailed
from app.common.nouns import PERSONS, capitalized
from app.metrics.aggregation.samples import SampleMath
from app.metrics.queries.entities import Entity, Filters, read_list
from app.metrics.queries.models import FunnelQuery, TrendQuery
from app.metrics.queries.scope import AttributedBy
from app.properties.errors import InvalidFilter
from app.properties.filters import parse_filter
from app.properties.wording import describe_filter

_WITHOUT_TEST_ACCOUNTS: Final = ", without test accounts"


@dataclass(frozen=True)
class MetricWording:
    """What a metric is, in words.

    Attributes
    ----------
    measure : str
        What the mean of a variant is, as the subject of a sentence: events, mathematics, conditions, window, and whose.
    mean_name : str
        The same in a few words.
    sum_name : str
        What the means are made of.
    """

    measure: str
    mean_name: str
    sum_name: str


def describe_funnel(
    query: FunnelQuery, unit: str, attributed_by: AttributedBy, *, leaves_out: bool = False
) -> MetricWording:
    """Return what a funnel measures.

    Parameters
    ----------
    unit : str
        Whose share it is, in the plural.
    leaves_out : bool
        Whether events of test accounts are left out.
    """
    who = f"exposed {unit}" if attributed_by == "exposure" else unit
    first, *later = [describe_events(step) for step in query.steps]
    window = spell(query.window.interval, query.window.unit)
    if not later:
        text = f"share of {who} with {first}"
    elif query.order_type == "unordered":
        text = f"share of {who} with one of {' and '.join([first, *later])} who did all of them within {window}"
    else:
        directly = "directly " if query.order_type == "strict" else ""
        text = f"share of {who} with {first} who {directly}went on to {', then '.join(later)} within {window}"
    for exclusion in query.exclusions:
        between = f"steps {exclusion.from_step + 1} and {exclusion.to_step + 1}"
        text += f", and without {describe_events(exclusion.entity)} between {between}"
    return MetricWording(f"{text}{_WITHOUT_TEST_ACCOUNTS if leaves_out else ''}", "conversion rate", "converted")


def describe_trend(query: TrendQuery, math: SampleMath, unit: str, *, leaves_out: bool = False) -> MetricWording:
    """Return what a trend measures, which compares what exposed persons or groups did; see ``describe_funnel``."""
    events, value = describe_events(query.entity), f"`{query.value_property}`"
    match math:
        case "dau":
            wording = MetricWording(f"share of exposed {unit} with {events}", f"share of {unit}", "with it")
        case "total":
            text = f"number of {events}, a mean over exposed {unit}"
            wording = MetricWording(text, per_unit("events", unit), "events")
        case "avg":
            text = f"average {value} of {events}, over all of these events of exposed {unit}"
            wording = MetricWording(text, f"average {value}", f"sum of {value}")
        case "sum":
            text = f"sum of {value} of {events}, a mean over exposed {unit}"
            wording = MetricWording(text, per_unit(value, unit), f"sum of {value}")
    return ending_with(wording, f", from the exposure on{_WITHOUT_TEST_ACCOUNTS if leaves_out else ''}")


def ending_with(wording: MetricWording, end: str) -> MetricWording:
    """Return a wording whose ``measure`` goes on."""
    return replace(wording, measure=f"{wording.measure}{end}")


def per_unit(what: str, unit: str) -> str:
    """Return the name of a mean over persons or groups."""
    return f"{what} per person" if unit == PERSONS else f"{what}, mean over {unit}"


def describe_events(entity: Entity) -> str:
    """Return the events of an entity, with the conditions on them."""
    return name_events(name_entity(entity), entity.properties)


def name_entity(entity: Entity) -> str:
    """Return the name that people gave an entity, or else that of its events or its action."""
    return entity.custom_name or entity.name or f"action {entity.id}"


def name_events(name: str, properties: object) -> str:
    """Return a name of events with conditions on them, in any form in which a filter may be sent."""
    try:
        conditions = describe_filter(parse_filter(properties))
    except InvalidFilter:  # which the metric's own problem says
        conditions = ""
    return f"`{name}`{f' where {conditions}' if conditions else ''}"


def spell(length: int, unit: str) -> str:
    """Return a length of time in words."""
    return f"{length:,} {unit}" if length == 1 else f"{length:,} {unit}s"


def name_filters(filters: Filters) -> str:
    """Return the name of a metric of 2022, which has none of its own: after the events or the action that it counts.

    It is empty where there are none; nothing is refused here.
    """
    items = [item for key in ("events", "actions") for item in _items(filters, key)]
    if not items:
        return ""
    items.sort(key=lambda item: order if isinstance(order := item.get("order"), int) else 0)
    if str(filters.get("insight", "TRENDS")).upper() != "TRENDS":
        return f"Conversion to {_label(items[-1])}"
    label, value, math = _label(items[0]), items[0].get("math_property"), str(items[0].get("math") or "total").lower()
    if math == "dau":
        return f"Share with {label}"
    if value:
        return f"{capitalized(math)} of {value} of {label}"
    return f"Number of {label}" if math == "total" else f"{capitalized(math.replace('_', ' '))} of {label}"


def _items(filters: Filters, key: str) -> list[Mapping[str, JsonValue]]:
    try:
        return read_list(filters, key)
    except ValidationFailed:
        return []


def _label(item: Mapping[str, JsonValue]) -> str:
    found = item.get("custom_name") or item.get("name") or item.get("id")
    return found if isinstance(found, str) else f"action {found}"
