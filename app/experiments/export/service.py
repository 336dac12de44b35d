"""Exports of one project's experiments: the rows of a table, as they are counted."""

from collections.abc import AsyncIterator, Iterable, Sequence

from app.db.models import Experiment
from app.experiments.export.tables import Table, exposure_rows, participant_row, result_rows, timeseries_rows
from app.experiments.exposures.counting import ExposureService
from app.experiments.exposures.responses import write_exposures
from app.experiments.participants.service import ParticipantService
from app.experiments.scorecard.experiment_metrics import ExperimentMetric, metrics_of, require_metric
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

    async def table(
        self,
        experiment: Experiment,
        table: Table,
        *,
        metric_id: str | None = None,
        interval: StepInterval | None = None,
        variant: str | None = None,
    ) -> AsyncIterator[Row]:
        """Return the rows of a table.

        ``metric_id`` and ``interval`` choose among those of ``timeseries``, ``variant`` among ``participants``.
        """
        if table == "results":
            return await self._results(experiment)
        if table == "exposures":
            return await self._exposed(experiment)
        if table == "participants":
            return await self._everyone(experiment, variant)
        return await self._timeseries(experiment, metric_id, interval)

    async def _results(self, experiment: Experiment) -> AsyncIterator[Row]:
        """Return the analysis of all metrics, by variant."""
        analysis = await self._scorecards.analysis(experiment)
        return _one_by_one(result_rows(experiment, analysis.metrics))

    async def _exposed(self, experiment: Experiment) -> AsyncIterator[Row]:
        """Return the exposed persons, by variant and day."""
        return _one_by_one(exposure_rows(experiment, write_exposures(await self._exposures.exposures(experiment))))

    async def _everyone(self, experiment: Experiment, variant: str | None) -> AsyncIterator[Row]:
        """Return everyone who takes part, or those of one variant."""
        found = await self._participants.everyone(experiment, variant)
        return (participant_row(experiment, one) async for one in found)

    async def _timeseries(
        self, experiment: Experiment, metric_id: str | None, interval: StepInterval | None
    ) -> AsyncIterator[Row]:
        """Return the analysis of all metrics, or of one, at the end of every step.

        A metric is analyzed when the rows of the one before are written: together they would take much memory.
        """
        metrics = metrics_of(experiment) if metric_id is None else [require_metric(experiment, metric_id)]
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
