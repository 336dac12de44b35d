"""Reads typed metrics: bodies -> the events and actions that they count."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from pydantic import JsonValue, TypeAdapter, ValidationError

from app.common.errors import ValidationFailed
from app.metrics.queries.entities import Actions, Entity, Filters, read_entities, refuse_missing_actions
from app.metrics.queries.typed.schemas import (
    ExposureCriteria,
    ExposureNode,
    FunnelMetric,
    MeanMetric,
    Node,
    QuantileMetric,
    RatioMetric,
    RetentionMetric,
    TypedMetric,
)
from app.properties.filters import Group

Parsed = TypeVar("Parsed")

_METRIC: Final[TypeAdapter[TypedMetric]] = TypeAdapter(TypedMetric)


@dataclass(frozen=True)
class TypedQuery:
    """A typed metric, and the entity of each of its nodes in the order of ``nodes_of``."""

    metric: TypedMetric
    entities: Sequence[Entity]


def parse_metric(body: object) -> TypedMetric:
    """Return a stored metric.

    Raises
    ------
    ValidationFailed
        When it cannot be read, because other rules applied when it was stored.
    """
    return _parse(_METRIC, body, "The metric cannot be read.")


def parse_criteria(body: object) -> ExposureCriteria:
    """Return stored exposure criteria; the defaults for None.

    Raises
    ------
    ValidationFailed
        As ``parse_metric``.
    """
    return _parse(TypeAdapter(ExposureCriteria), body or {}, "The exposure criteria cannot be read.")


def _parse(adapter: TypeAdapter[Parsed], body: object, refusal: str) -> Parsed:
    try:
        return adapter.validate_python(body)
    except ValidationError as error:
        raise ValidationFailed(f"{refusal} {error.errors(include_url=False)[0]['msg']}") from error


def nodes_of(metric: TypedMetric) -> list[Node]:
    """Return the nodes of a metric: numerator before denominator, start before completion."""
    match metric:
        case MeanMetric() | QuantileMetric():
            return [metric.source]
        case FunnelMetric():
            return metric.series
        case RatioMetric():
            return [metric.numerator, metric.denominator]
        case RetentionMetric():
            start = [] if isinstance(metric.start_event, ExposureNode) else [metric.start_event]
            return [*start, metric.completion_event]


def filters_of(nodes: Sequence[Node]) -> Filters:
    """Return what nodes select as the filters of an insight of 2022."""
    lists: dict[str, list[JsonValue]] = {"events": [], "actions": []}
    for order, node in enumerate(nodes):
        lists["actions" if node.kind == "ActionsNode" else "events"].append(
            {
                "id": node.id if node.kind == "ActionsNode" else node.event,
                "order": order,
                "name": node.name,
                "custom_name": node.custom_name,
                "properties": node.properties,
            }
        )
    return lists


def read_typed(metric: TypedMetric, actions: Actions, always: Group) -> TypedQuery:
    """Return the query of a metric whose events all pass a filter.

    Raises
    ------
    ValidationFailed
        When a filter cannot be read, or an action does not exist.
    """
    return TypedQuery(metric, read_nodes(nodes_of(metric), actions, always))


def read_nodes(nodes: Sequence[Node], actions: Actions, always: Group) -> list[Entity]:
    """Return the entity of each node; see ``read_typed``."""
    entities = [read_entities(filters_of([node]), actions, always)[0] for node in nodes]
    refuse_missing_actions(entities)
    return entities
