"""Breaks a metric of an experiment down by the values of a property."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.analysis.service import read_config, write_analysis, write_sample_ratio
from app.common.errors import ValidationFailed
from app.common.time_slices import TimeSlices
from app.db.database import Database
from app.db.models import Experiment
from app.experiments.exposures.counting import ExposurePlan, ExposurePlanner
from app.experiments.scorecard.breakdown_schemas import BreakdownRead, BreakdownValueRead
from app.experiments.scorecard.counting import CountedMetric, ScorecardCounter, broken_down
from app.experiments.scorecard.experiment_metrics import ExperimentMetric, metrics_of, require_metric
from app.experiments.scorecard.schemas import ExperimentStatsConfig, ScorecardRead
from app.experiments.sharing import SharedCounts
from app.metrics.aggregation.breakdown import BreakdownCounts
from app.metrics.counting.fact_query import FactQuery
from app.metrics.counting.service import FactService
from app.metrics.facts.actor_keys import ActorKeyRepository
from app.metrics.facts.columns import NO_ACTOR
from app.metrics.queries.breakdown import Breakdown
from app.metrics.queries.parsing import read_insight
from app.statistics.analysis import analyze_metrics
from app.statistics.frequentist.multiplicity import Correction
from app.statistics.frequentist.sample_ratio import MISMATCH_LEVEL, SampleRatio, check_sample_ratio
from app.statistics.results import Analysis, AnalysisConfig, Goal
from app.statistics.variants import MetricVariant


class BreakdownService:
    """Breaks down metrics of one project's experiments."""

    def __init__(
        self,
        database: Database,
        facts: FactService,
        planner: ExposurePlanner,
        counter: ScorecardCounter,
        shared: SharedCounts,
        project_id: int,
    ) -> None:
        self._database = database
        self._facts = facts
        self._planner = planner
        self._counter = counter
        self._shared = shared
        self._project_id = project_id

    async def break_down(self, experiment: Experiment, metric_id: str, breakdown: Breakdown) -> BreakdownRead:
        """Analyze a metric for each value of a property, as of now.

        Raises
        ------
        ValidationFailed
            When there is no such metric, it cannot be broken down, or events that are needed were removed.
        """
        metric_id = require_metric(experiment, metric_id).id
        return await self._shared.result(
            f"breakdown {metric_id} {breakdown!r}",
            experiment,
            lambda: self._break_down(experiment, metric_id, breakdown),
        )

    async def with_own(self, experiment: Experiment, analysis: ScorecardRead) -> ScorecardRead:
        """Return an analysis with the breakdowns that the definitions of metrics ask for.

        One that cannot be counted has no values, and says why.
        """
        found: dict[str, BreakdownRead] = {}
        for metric in metrics_of(experiment):
            if (own := metric.breakdown) is not None:
                try:
                    found[metric.id] = await self.break_down(experiment, metric.id, own)
                except ValidationFailed as refusal:
                    found[metric.id] = _without_values(metric.id, own, refusal.detail)
        if not found:
            return analysis
        metrics = [one.model_copy(update={"breakdown": found.get(one.metric_id)}) for one in analysis.metrics]
        return analysis.model_copy(update={"metrics": metrics})

    async def _break_down(self, experiment: Experiment, metric_id: str, breakdown: Breakdown) -> BreakdownRead:
        exposures = await self._planner.plan(experiment)
        [metric] = (await self._counter.plan(experiment, exposures, only={metric_id})).metrics
        if metric.fact_query is None:
            raise ValidationFailed(metric.problem, attr="metric")
        if breakdown.by == "metric" and not _counts_one_event(metric.metric):
            raise ValidationFailed(
                "A breakdown by the metric's events needs a metric of one event: a mean, a quantile, or a trend. Break "
                "others down by exposure.",
                attr="breakdown_by",
            )
        names, keys = await self._persons(exposures, breakdown)
        query = broken_down(breakdown, metric.fact_query, exposures, keys)
        [counts] = await self._facts.counts([query])
        if names is None:
            counts, names = await self._with_texts(counts, query)
        config = _corrected(read_config(ExperimentStatsConfig.model_validate(experiment.stats_config or {})))
        counted = [metric.counted(one) for one in counts.counts]
        segments = await _write_segments(counted, counts, names, exposures, config, breakdown)
        others = segments[len(counts.keys) :]
        return BreakdownRead(
            metric_id=metric_id,
            property=breakdown.property,
            type=breakdown.type,
            by=breakdown.by,
            values=segments[: len(counts.keys)],
            other=others[0] if others else None,
            truncated=bool(others),
            multiple_testing=config.correction or "holm",
            detail="",
            notes=_notes(breakdown, metric.metric, exposures.query.unit),
        )

    async def _persons(
        self, exposures: ExposurePlan, breakdown: Breakdown
    ) -> tuple[dict[int, str] | None, dict[int, int] | None]:
        """Return the texts of the values of persons by numbers, and the number of each person's; None for events."""
        if breakdown.type == "event":
            return None, None
        if exposures.scope.actor_property is not None:
            raise ValidationFailed(
                f"The experiment compares {exposures.query.unit}, which have no properties of a person. Use a property "
                "of the event.",
                attr="breakdown_type",
            )
        return await self._facts.values_of_persons(breakdown.property)

    async def _with_texts(
        self, counts: BreakdownCounts, query: FactQuery[Any]
    ) -> tuple[BreakdownCounts, dict[int, str]]:
        """Return counts with the texts of their values, counted again where stored ones name values that are gone."""
        names = await self._texts(counts)
        if names.keys() != set(_numbers(counts)):
            [counts] = await self._facts.counts([query], recompute=True)
            names = await self._texts(counts)
        return counts, names

    async def _texts(self, counts: BreakdownCounts) -> dict[int, str]:
        async with self._database.read() as session:
            return await ActorKeyRepository(session, self._project_id).texts(_numbers(counts))


def _without_values(metric_id: str, breakdown: Breakdown, detail: str) -> BreakdownRead:
    return BreakdownRead(
        metric_id=metric_id,
        property=breakdown.property,
        type=breakdown.type,
        by=breakdown.by,
        values=[],
        other=None,
        truncated=False,
        multiple_testing="holm",
        detail=detail,
        notes=[],
    )


def _numbers(counts: BreakdownCounts) -> list[int]:
    return [key for key in counts.keys.tolist() if key != NO_ACTOR]


async def _write_segments(
    counted: Sequence[CountedMetric],
    counts: BreakdownCounts,
    names: Mapping[int, str],
    exposures: ExposurePlan,
    config: AnalysisConfig,
    breakdown: Breakdown,
) -> list[BreakdownValueRead]:
    """Return what was counted for each value, analyzed together."""
    variants = exposures.scope.variants
    inputs = [_compared(one.variants(variants, -1), exposures.excluded) for one in counted]
    analyses = await _analyze(inputs, config, [one.metric.role.goal for one in counted])
    ratios = _sample_ratios(counts.exposed, exposures) if breakdown.by == "exposure" else [None] * len(counted)
    keys = [*counts.keys.tolist(), NO_ACTOR]  # the last one is that of the other values
    segments = []
    slices = TimeSlices()
    for place, (one, analysis, ratio) in enumerate(zip(counted, analyses, ratios, strict=True)):
        await slices.pause()  # each takes up to a millisecond of the event loop
        shown = None
        if analysis is not None and one.kind is not None:
            shown = write_analysis(one.kind, analysis, ratio)
        segments.append(
            BreakdownValueRead(
                value=names.get(keys[place]),
                exposed=dict(zip(variants, counts.exposed[place].sum(axis=0).tolist(), strict=True)),
                sample_ratio_mismatch=None if ratio is None else write_sample_ratio(ratio),
                detail=one.problem or ("" if shown else "The counts cannot be analyzed."),
                analysis=shown,
            )
        )
    return segments


def _counts_one_event(metric: ExperimentMetric) -> bool:
    if metric.typed is not None:
        return metric.typed.get("metric_type") in {"mean", "quantile"}
    return read_insight(metric.filters) == "TRENDS"


def _corrected(config: AnalysisConfig) -> AnalysisConfig:
    """Return a configuration that corrects over all values: of many, some differ by chance."""
    correction: Correction = "benjamini_hochberg" if config.correction == "benjamini_hochberg" else "holm"
    return replace(config, correction=correction)


def _compared(variants: Sequence[MetricVariant] | None, excluded: frozenset[str]) -> Sequence[MetricVariant] | None:
    return None if variants is None else [one for one in variants if one.key not in excluded]


async def _analyze(
    inputs: Sequence[Sequence[MetricVariant] | None], config: AnalysisConfig, goals: Sequence[Goal]
) -> list[Analysis | None]:
    known = [one for one in inputs if one is not None]
    goals = [goal for goal, one in zip(goals, inputs, strict=True) if one is not None]
    try:
        found = iter(await asyncio.to_thread(analyze_metrics, known, config, goals=goals))
    except ValueError as error:
        raise ValidationFailed(str(error)) from error
    return [None if one is None else next(found) for one in inputs]


def _sample_ratios(exposed: NDArray[np.int64], exposures: ExposurePlan) -> list[SampleRatio | None]:
    """Return the test of each value's persons against the split, corrected for the number of values."""
    variants = exposures.scope.variants
    places = [place for place, key in enumerate(variants) if key not in exposures.excluded]
    compared = [variants[place] for place in places]
    shares = exposures.split.predicted(compared)
    if shares is None:
        return [None] * len(exposed)
    ratios: list[SampleRatio | None] = []
    for of_value in exposed[:, :, places]:
        expected = (of_value.sum(axis=1) @ np.array(shares)).tolist()
        if not any(expected):
            ratios.append(None)
            continue
        found = check_sample_ratio(
            dict(zip(compared, of_value.sum(axis=0).tolist(), strict=True)), dict(zip(compared, expected, strict=True))
        )
        is_mismatch = found.is_mismatch and found.p_value * len(exposed) < MISMATCH_LEVEL
        ratios.append(replace(found, is_mismatch=is_mismatch))
    return ratios


def _notes(breakdown: Breakdown, metric: ExperimentMetric, unit: str) -> list[str]:
    notes = [
        "Segments are exploratory: of many, some differ by chance, and the smaller ones by much. Take what stands out "
        "as a question for the next experiment. What is significant is corrected over all values and variants; "
        "intervals are not."
    ]
    if breakdown.by == "metric" and metric.typed is not None and metric.typed.get("quantile_type") == "event":
        notes.append("Every quantile is that of the events with the value: they are not parts of one total.")
    elif breakdown.by == "metric":
        notes.append(
            f"Every value is relative to all exposed {unit}: the values are parts of one total, not groups of {unit}."
        )
    if breakdown.type == "person":
        notes.append(
            "Properties of persons are those of today: where a variant changes them, its persons move between values. "
            "A property of the exposure event does not change."
        )
    return notes
