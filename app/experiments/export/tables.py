"""The rows of an experiment's tables, from the bodies that its endpoints answer."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, TypeAlias

from app.analysis.schemas import AnalysisRead, VariantAnalysisRead
from app.common.timestamps import from_microseconds, write_moment
from app.db.models import Experiment
from app.experiments.exposures.schemas import ExposuresRead
from app.experiments.participants.service import Participant
from app.experiments.scorecard.experiment_metrics import ExperimentMetric
from app.experiments.scorecard.schemas import MetricAnalysisRead, TimeseriesRead
from app.http.files import Row

_EXPERIMENT: Final = ("experiment", "experiment_name")
# Columns, and the figures of a variant that they hold.
_FIGURES: Final = {
    "n": "number_of_samples",
    "sum": "sum",
    "sum_squares": "sum_squares",
    "mean": "mean",
    "effect": "delta",
    "relative_effect": "delta_relative",
    "p": "p_value",
    "anytime_p": "sequential_p_value",
    "adjusted_p": "adjusted_p_value",
    "chance": "chance_to_win",
    "probability_best": "probability_best",
    "expected_loss": "expected_loss",
    "significant": "significant",
    "significance_code": "significance_code",
}
# Intervals: ``<column>_low`` and ``<column>_high``.
_INTERVALS: Final = {
    "mean_credible": "credible_interval",
    "effect_credible": "delta_credible_interval",
    "effect_confidence": "confidence_interval",
    "effect_anytime": "sequential_interval",
    "relative_effect_credible": "delta_relative_credible_interval",
    "relative_effect_confidence": "relative_confidence_interval",
    "relative_effect_anytime": "relative_sequential_interval",
}
_ENDS: Final = ("low", "high")
_METRIC: Final = ("metric", "metric_name", "role", "goal", "status", "detail")
_VARIANT: Final = ("variant", "is_baseline", *_FIGURES, *(f"{name}_{end}" for name in _INTERVALS for end in _ENDS))

RESULTS: Final = (*_EXPERIMENT, *_METRIC, *_VARIANT)
TIMESERIES: Final = (*_EXPERIMENT, *_METRIC, "day", *_VARIANT)
EXPOSURES: Final = (*_EXPERIMENT, "variant", "day", "first_exposures", "exposed")
PARTICIPANTS: Final = (*_EXPERIMENT, "person_id", "distinct_ids", "variant", "first_exposure", "variants_seen")

Table: TypeAlias = Literal["results", "exposures", "participants", "timeseries"]
COLUMNS: Final[Mapping[Table, Sequence[str]]] = {
    "results": RESULTS,
    "exposures": EXPOSURES,
    "participants": PARTICIPANTS,
    "timeseries": TIMESERIES,
}


def result_rows(experiment: Experiment, metrics: list[MetricAnalysisRead]) -> Iterator[Row]:
    """Yield a row for each variant of each metric; one without a variant for a metric that is not analyzed."""
    for one in metrics:
        described = {
            "metric": one.metric_id,
            "metric_name": one.name,
            "role": one.role,
            "goal": one.goal,
            "status": one.status,
            "detail": one.detail,
        }
        about = {**_about(experiment), **described}
        yield from _variant_rows(about, one.analysis) if one.analysis is not None else [about]


def timeseries_rows(experiment: Experiment, metric: ExperimentMetric, series: TimeseriesRead) -> Iterator[Row]:
    """Yield a row for each variant at the end of each step."""
    about = {
        **_about(experiment),
        "metric": series.metric_id,
        "metric_name": metric.name,
        "role": metric.role.role,
        "goal": metric.role.goal,
        "status": series.status,
        "detail": series.detail,
    }
    if not series.timeseries:
        yield about
    for day, analysis in series.timeseries.items():
        yield from _variant_rows({**about, "day": day}, analysis)


def exposure_rows(experiment: Experiment, exposures: ExposuresRead) -> Iterator[Row]:
    """Yield a row for each variant and interval: persons first exposed in it, and all until its end."""
    for series in exposures.timeseries:
        exposed = 0
        for day, count in zip(series.days, series.exposure_counts, strict=True):
            exposed += count
            yield {
                **_about(experiment),
                "variant": series.variant,
                "day": day,
                "first_exposures": count,
                "exposed": exposed,
            }


def participant_row(experiment: Experiment, participant: Participant) -> Row:
    return {
        **_about(experiment),
        "person_id": participant.person_id,
        "distinct_ids": list(participant.distinct_ids),
        "variant": participant.variant,
        "first_exposure": write_moment(from_microseconds(participant.first_exposure)),
        "variants_seen": list(participant.variants),
    }


def _about(experiment: Experiment) -> dict[str, str | int]:
    return {"experiment": experiment.id, "experiment_name": experiment.name}


def _variant_rows(about: Row, analysis: AnalysisRead) -> Iterator[Row]:
    baseline = analysis.stats_config.baseline_variant_key
    for variant in analysis.variants:
        yield {**about, "variant": variant.key, "is_baseline": variant.key == baseline, **_figures(variant)}


def _figures(variant: VariantAnalysisRead) -> Row:
    figures = {column: getattr(variant, name) for column, name in _FIGURES.items()}
    for column, name in _INTERVALS.items():
        ends = getattr(variant, name) or (None, None)
        figures |= {f"{column}_{end}": value for end, value in zip(_ENDS, ends, strict=True)}
    return figures
