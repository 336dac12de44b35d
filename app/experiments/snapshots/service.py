"""Snapshots: the results when an experiment ended, a variant was shipped, or a user requested them.

Counting takes longer than a transaction should, and writes on its own. So a snapshot is counted before the transaction
that stores it, of the experiment in the state that the transaction leaves it in: the transaction runs without a
snapshot, raises which one it needs, is rolled back, and runs again with it. If the experiment was changed meanwhile,
this repeats.
"""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from app import VERSION
from app.common.errors import AppError, NotFound, Unavailable
from app.common.ids import read_id
from app.db.models import Experiment, Project, Snapshot, User, utc_now
from app.experiments.counting.service import CountedExperiment, ExperimentCounter
from app.experiments.health.service import report_health
from app.experiments.results.health_summary import HealthSummaryRead
from app.experiments.results.schemas import FunnelResultsRead, TrendResultsRead
from app.experiments.results.service import ResultsService
from app.experiments.scorecard.schemas import ScorecardRead
from app.experiments.scorecard.service import analyze_experiment
from app.experiments.snapshots.repository import SnapshotRepository
from app.experiments.snapshots.schemas import (
    Definition,
    SecondaryResults,
    SnapshotContent,
    SnapshotExperiment,
    SnapshotFlag,
    SnapshotWindow,
    Trigger,
)
from app.http.schemas import ErrorBody

Result = TypeVar("Result")


@dataclass(frozen=True)
class TakenSnapshot:
    definition: Definition
    content: str  # JSON


class SnapshotTaker:
    """Counts what a snapshot holds, outside of any transaction."""

    def __init__(self, counter: ExperimentCounter, results: ResultsService, project: Project) -> None:
        self._counter = counter
        self._results = results
        self._project = project

    async def take(self, experiment: Experiment) -> TakenSnapshot:
        """Count a started experiment, and return its snapshot."""
        definition = define(experiment)
        start, now = experiment.start_date, utc_now()
        if start is None:
            raise ValueError(f"experiment {experiment.id} has not started")
        counted = await self._counter.count(experiment)
        results, results_error = await _result_or_error(_judge(counted))
        analysis, analysis_error = await _result_or_error(_analyze(experiment, counted))
        metrics = experiment.secondary_metrics
        secondary = [
            await _result_or_error(self._results.secondary_results(experiment, index))
            for index in range(len(metrics) if isinstance(metrics, list) else 0)
        ]
        content = SnapshotContent(
            experiment=definition.experiment,
            feature_flag=definition.feature_flag,
            window=SnapshotWindow(
                date_from=start,
                date_to=min(experiment.end_date, now) if experiment.end_date else now,
                timezone=self._project.timezone,
            ),
            engine_version=VERSION,
            results=results,
            results_error=results_error,
            secondary_results=[SecondaryResults(result=result, error=error) for result, error in secondary],
            analysis=analysis,
            analysis_error=analysis_error,
            health=HealthSummaryRead.model_validate(await report_health(experiment, counted)),
        )
        return TakenSnapshot(definition, content.model_dump_json())


class SnapshotService:
    """Snapshots in one transaction; ``taken`` is the snapshot that was counted for it, if any."""

    def __init__(self, snapshots: SnapshotRepository, taken: TakenSnapshot | None = None) -> None:
        self._snapshots = snapshots
        self._taken = taken

    async def store(self, experiment: Experiment, trigger: Trigger, created_by: User | None) -> Snapshot | None:
        """Store the snapshot that was counted for the experiment; None when its current state was not counted."""
        if self._taken is None or self._taken.definition != define(experiment):
            return None
        snapshot = Snapshot(
            experiment_id=experiment.id,
            trigger=trigger,
            content=self._taken.content,
            created_by_id=None if created_by is None else created_by.id,
        )
        await self._snapshots.add(snapshot)
        return snapshot

    async def get(self, experiment_id: int, reference: str) -> Snapshot:
        """Return the snapshot that a path names; ``NotFound`` if there is none with this id."""
        snapshot_id = read_id(reference)
        snapshot = await self._snapshots.get(experiment_id, snapshot_id) if snapshot_id else None
        if snapshot is None:
            raise NotFound
        return snapshot

    async def page(self, experiment_id: int, limit: int, offset: int) -> tuple[int, Sequence[Snapshot]]:
        return await self._snapshots.count(experiment_id), await self._snapshots.page(experiment_id, limit, offset)


def define(experiment: Experiment) -> Definition:
    """Return everything that determines the experiment's results, except the events."""
    return Definition(
        experiment=SnapshotExperiment.model_validate(experiment),
        feature_flag=SnapshotFlag.model_validate(experiment.feature_flag),
    )


async def _judge(counted: CountedExperiment) -> FunnelResultsRead | TrendResultsRead:
    return counted.judge()


async def _analyze(experiment: Experiment, counted: CountedExperiment) -> ScorecardRead:
    return await analyze_experiment(experiment, counted.require_scorecard())


async def _result_or_error(work: Awaitable[Result]) -> tuple[Result | None, ErrorBody | None]:
    """Return the result, or the error in its place: a snapshot keeps why results are missing too."""
    try:
        return await work, None
    except Unavailable:  # the database failed, which says nothing about the experiment
        raise
    except AppError as refusal:
        return None, ErrorBody(type=refusal.type, code=refusal.code, detail=refusal.detail, attr=refusal.attr)
