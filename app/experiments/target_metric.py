"""Which metric of an experiment is its target: what its ``filters`` say, or else one of its typed metrics."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from pydantic import JsonValue

from app.db.models import Experiment, SavedMetric
from app.metrics.queries.parsing import define_target

TypedBody: TypeAlias = Mapping[str, JsonValue]


def typed_bodies(experiment: Experiment) -> list[TypedBody]:
    """Return the typed metrics of an experiment: its own, its secondary ones, and the saved ones that it names."""
    links = {link["id"]: link.get("metadata", {}) for link in experiment.saved_metrics_ids or ()}
    saved = [_saved_body(metric, links.get(metric.id, {})) for metric in experiment.saved_metrics]
    return [*(experiment.metrics or ()), *(experiment.metrics_secondary or ()), *saved]


def _saved_body(metric: SavedMetric, metadata: TypedBody) -> TypedBody:
    """Return a saved metric as the experiment counts it: broken down by what the experiment says, if it does."""
    body = {**metric.query, "name": metric.name}
    if not metadata.get("breakdowns"):
        return body
    own = {name: metadata[name] for name in ("breakdowns", "breakdown_limit") if name in metadata}
    return {**body, "breakdownFilter": own}


def target_place(experiment: Experiment, bodies: Sequence[TypedBody]) -> int | None:
    """Return the place of the target among ``typed_bodies``; None where ``filters`` say what it is.

    It is the first that is not a guardrail, which only has to do no harm: of its own ones, the saved ones that are
    marked as primary, the secondary ones, and the others.
    """
    if not bodies or define_target(experiment.filters or {}, beside_typed=True):
        return None
    own, unsaved = len(experiment.metrics or ()), len(bodies) - len(experiment.saved_metrics)
    links = experiment.saved_metrics_ids or ()
    leading = {link["id"] for link in links if link.get("metadata", {}).get("type") == "primary"}
    shared = [unsaved + place for place, metric in enumerate(experiment.saved_metrics) if metric.id in leading]
    order: list[int] = list(dict.fromkeys([*range(own), *shared, *range(len(bodies))]))
    return next((place for place in order if bodies[place].get("role") != "guardrail"), order[0])


def target_body(experiment: Experiment) -> TypedBody | None:
    """Return the typed metric that is the target; None where ``filters`` say what it is."""
    bodies = typed_bodies(experiment)
    place = target_place(experiment, bodies)
    return None if place is None else bodies[place]
