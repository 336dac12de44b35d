"""The question who was exposed. Pure."""

from dataclasses import replace

from app.facts.calendar import Interval, Ticks
from app.facts.exposures import ExposureCounts, count_exposures
from app.facts.metric import Metric, Window
from app.results.queries import ExperimentScope
from app.results.questions import ExposureQuery

# Moments in microseconds before and after which nothing happens.
_BEGINNING, _END = -(2**62), 2**62


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
    )
