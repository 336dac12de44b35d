"""The metrics that an experiment has: the target metric, secondary ones and typed ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import JsonValue

from app.common.errors import ValidationFailed
from app.db.models import Experiment
from app.experiments.scorecard.decision_criteria import MetricRole, read_goal, read_role
from app.experiments.target_metric import target_place, typed_bodies
from app.metrics.queries.breakdown import Breakdown
from app.metrics.queries.entities import Filters
from app.metrics.queries.typed.breakdown_filter import read_breakdown_filter
from app.metrics.queries.wording import name_filters

PRIMARY = "primary"
_TARGET = "Target metric"  # the name of one that does not say what it counts


@dataclass(frozen=True)
class ExperimentMetric:
    """A metric of an experiment.

    ``id`` is ``primary`` for the target metric, ``secondary-`` and the index from 0 for one of ``secondary_metrics``,
    and the uuid of any other typed metric. A typed metric has a ``typed`` body instead of ``filters``.
    """

    id: str
    name: str
    role: MetricRole
    filters: Filters
    typed: Mapping[str, JsonValue] | None = None

    @property
    def uuid(self) -> str | None:
        return None if self.typed is None else str(self.typed["uuid"])

    @property
    def breakdown(self) -> Breakdown | None:
        """What the metric's own definition breaks it down by, if anything."""
        return None if self.typed is None else read_breakdown_filter(self.typed.get("breakdownFilter"))

    def has_uuid(self, reference: str) -> bool:
        """Whether a reference is the metric's uuid, in either case."""
        return self.uuid is not None and reference.lower() == self.uuid.lower()

    def is_named(self, reference: str) -> bool:
        """Whether a reference is the metric's id or uuid."""
        return reference == self.id or self.has_uuid(reference)


def metrics_of(experiment: Experiment) -> list[ExperimentMetric]:
    """Return the metrics of an experiment, the target metric first.

    That is what its ``filters`` say; without them, a typed metric: see ``target_place``.
    """
    bodies = typed_bodies(experiment)
    typed, place = typed_metrics(bodies), target_place(experiment, bodies)
    goal = read_goal(experiment.decision_criteria or {})
    if place is None:
        of_target = experiment.filters or {}
        target = ExperimentMetric(PRIMARY, name_filters(of_target) or _TARGET, MetricRole("primary", goal), of_target)
    else:
        chosen = typed.pop(place)
        stated = chosen.role.goal if chosen.typed and chosen.typed.get("goal") else goal
        target = replace(chosen, id=PRIMARY, role=replace(chosen.role, role="primary", goal=stated))
    listed = experiment.secondary_metrics if isinstance(experiment.secondary_metrics, list) else []
    secondary = []
    for index, metric in enumerate(listed):
        body = metric if isinstance(metric, dict) else {}
        filters = body.get("filters")
        secondary.append(
            ExperimentMetric(
                f"secondary-{index}",
                _name_of(body) or f"Secondary metric {index + 1}",
                read_role(body),
                filters if isinstance(filters, dict) else {},
            )
        )
    return [target, *secondary, *typed]


def require_metric(experiment: Experiment, reference: str) -> ExperimentMetric:
    """Return the metric of an experiment that a request names by its id or uuid.

    Raises
    ------
    ValidationFailed
        When there is no such metric.
    """
    for metric in metrics_of(experiment):
        if metric.is_named(reference):
            return metric
    raise ValidationFailed(f"There is no metric {reference[:100]!r}", attr="metric")


def typed_metrics(bodies: Sequence[Mapping[str, JsonValue]] | None) -> list[ExperimentMetric]:
    """Return stored typed metrics as metrics of an experiment."""
    return [
        ExperimentMetric(str(body["uuid"]), _name_of(body) or str(body["metric_type"]), read_role(body), {}, body)
        for body in bodies or ()
    ]


def _name_of(body: Mapping[str, JsonValue]) -> str:
    name = body.get("name")
    return name if isinstance(name, str) else ""
