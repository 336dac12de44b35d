"""Exports of one project's experiments: the rows of a table, as they are counted."""

from collections.abc import AsyncIterator, Iterable, Sequence

from app.common.errors import ValidationFailed
from app.db.models import Experiment
from app.experiments.export.tables import exposure_rows, participant_row, result_rows, timeseries_rows
from app.experiments.exposures.counting import ExposureService
from app.experiments.exposures.responses import write_exposures
from app.experiments.participants.service import ParticipantService
from app.experiments.scorecard.counting import ExperimentMetric, metrics_of
from app.experiments.scorecard.service import ScorecardService
from app.experiments.scorecard.steps import StepInterval
from app.http.files import Row


class ExportService:
    """What may refuse is done when a method returns; then rows are made one after another."""

    def __init__(
        self, scorecards: ScorecardService, exposures: ExposureService, participants: ParticipantService
    ) -> None:
        self._scorecards = scorecards
        self._exposures = exposures
        self._participants = participants

    async def results(self, experiment: Experiment) -> AsyncIterator[Row]:
        """Return the analysis of all metrics, by variant."""
        analysis = await self._scorecards.analysis(experiment)
        return _one_by_one(result_rows(experiment, analysis.metrics))

    async def exposures(self, experiment: Experiment) -> AsyncIterator[Row]:
        """Return the exposed persons, by variant and day."""
        return _one_by_one(exposure_rows(experiment, write_exposures(await self._exposures.exposures(experiment))))

    async def participants(self, experiment: Experiment, variant: str | None) -> AsyncIterator[Row]:
        """Return everyone who takes part, or those of one variant."""
        found = await self._participants.everyone(experiment, variant)
        return (participant_row(experiment, one) async for one in found)

    async def timeseries(
        self, experiment: Experiment, metric_id: str | None, interval: StepInterval | None
    ) -> AsyncIterator[Row]:
        """Return the analysis of all metrics, or of one, at the end of every step.

        A metric is analyzed when the rows of the one before are written: together they would take much memory.
        """
        metrics = [one for one in metrics_of(experiment) if metric_id in {None, one.id, one.uuid}]
        if not metrics:
            raise ValidationFailed(f"There is no metric {str(metric_id)[:100]!r}", attr="metric")
        first = await self._of_metric(experiment, metrics[0], interval)
        return self._all_timeseries(experiment, first, metrics[1:], interval)

    async def _all_timeseries(
        self,
        experiment: Experiment,
        first: Iterable[Row],
        metrics: Sequence[ExperimentMetric],
        interval: StepInterval | None,
    ) -> AsyncIterator[Row]:
        for row in first:
            yield row
        for metric in metrics:
            for row in await self._of_metric(experiment, metric, interval):
                yield row

    async def _of_metric(
        self, experiment: Experiment, metric: ExperimentMetric, interval: StepInterval | None
    ) -> Iterable[Row]:
        series = await self._scorecards.timeseries(experiment, metric.id, interval)
        return timeseries_rows(experiment, metric, series)


async def _one_by_one(rows: Iterable[Row]) -> AsyncIterator[Row]:
    for row in rows:
        yield row
