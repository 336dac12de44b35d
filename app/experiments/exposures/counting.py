"""The question who was exposed."""

from dataclasses import dataclass, replace

from app.db.models import Experiment
from app.metrics.aggregation.calendar import Interval, Ticks
from app.metrics.aggregation.exposures import ExposureCounts, count_exposures
from app.metrics.counting.metric import Metric, Window
from app.metrics.queries.models import ExposureQuery
from app.metrics.queries.scope import ExperimentScope, buckets
from app.metrics.queries.service import ExperimentQuestions

# Moments in microseconds before and after which nothing happens.
_BEGINNING, _END = -(2**62), 2**62


@dataclass(frozen=True)
class Exposures:
    """Who was exposed to an experiment, as of one moment."""

    query: ExposureQuery
    scope: ExperimentScope
    ticks: Ticks
    counts: ExposureCounts

    @property
    def exposed(self) -> dict[str, int]:
        """Persons of each variant who were shown no other."""
        return dict(zip(self.scope.variants, self.counts.exposed.tolist(), strict=True))


@dataclass(frozen=True)
class ExposureQuestion:
    query: ExposureQuery
    scope: ExperimentScope
    ticks: Ticks
    metric: Metric[ExposureCounts]

    def answer(self, counts: ExposureCounts) -> Exposures:
        return Exposures(self.query, self.scope, self.ticks, counts)


async def ask_exposures(
    questions: ExperimentQuestions, experiment: Experiment, scope: ExperimentScope, interval: Interval = "day"
) -> ExposureQuestion:
    """Return the question who was exposed to a started experiment."""
    query, ticks = await questions.exposures(experiment, scope), buckets(scope.so_far, interval)
    return ExposureQuestion(query, scope, ticks, exposure_metric(query, ticks, interval, scope))


def exposure_metric(
    query: ExposureQuery, ticks: Ticks, interval: Interval, scope: ExperimentScope
) -> Metric[ExposureCounts]:
    """Return the question who was exposed. It looks at all times, to say what lies outside the experiment's."""
    window = scope.window
    inside = replace(window, until=_END) if window.is_open else window
    return Metric(
        watches=query.watches,
        window=Window(_BEGINNING, window.until if window.is_open else _END, window.is_open),
        variants=scope.variants,
        count=lambda columns: count_exposures(columns, ticks, inside, len(scope.variants)),
        read=lambda body: ExposureCounts.from_bytes(body).widened(len(ticks)),
        addends="actors",
        parameters=("exposures of all times", repr(inside), interval, scope.timezone.key),
        columns=frozenset({"actor"}),
        needed_since=window.since,
    )
