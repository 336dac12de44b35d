"""Snapshots: results as they stood when an experiment ended, a variant was shipped, or somebody asked.

To count takes longer than a transaction should, and writes on its own. So a snapshot is taken before the transaction
that stores it, of the experiment as that transaction is going to leave it: the transaction is tried without a snapshot,
says which one it lacks, is undone, and made again with it. If the experiment was changed meanwhile, once more.
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
    ExperimentDefinition,
    FlagDefinition,
    SecondaryResults,
    SnapshotContent,
    SnapshotWindow,
    Trigger,
)
from app.http.schemas import ErrorBody

Answer = TypeVar("Answer")


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
        """Return what there is to be seen of a started experiment, which is loaded already."""
        definition = define(experiment)
        start, now = experiment.start_date, utc_now()
        if start is None:
            raise ValueError(f"experiment {experiment.id} has not started")
        counted = await self._counter.count(experiment)
        results, results_error = await _answer_or_refusal(_judge(counted))
        analysis, analysis_error = await _answer_or_refusal(_analyze(experiment, counted))
        metrics = experiment.secondary_metrics
        secondary = [
            await _answer_or_refusal(self._results.secondary_results(experiment, index))
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
    """Snapshots in a transaction: ``taken`` is the one that was taken for it, if any."""

    def __init__(self, snapshots: SnapshotRepository, taken: TakenSnapshot | None = None) -> None:
        self._snapshots = snapshots
        self._taken = taken

    async def store(self, experiment: Experiment, trigger: Trigger, created_by: User) -> Snapshot | None:
        """Store the snapshot that was taken of the experiment; None when there is none of it as it is now."""
        if self._taken is None or self._taken.definition != define(experiment):
            return None
        snapshot = Snapshot(
            experiment_id=experiment.id, trigger=trigger, content=self._taken.content, created_by_id=created_by.id
        )
        await self._snapshots.add(snapshot)
        return snapshot

    async def get(self, experiment_id: int, reference: str) -> Snapshot:
        """Return the snapshot that a path names; whatever is no number names none."""
        snapshot_id = read_id(reference)
        snapshot = await self._snapshots.get(experiment_id, snapshot_id) if snapshot_id else None
        if snapshot is None:
            raise NotFound
        return snapshot

    async def page(self, experiment_id: int, limit: int, offset: int) -> tuple[int, Sequence[Snapshot]]:
        return await self._snapshots.count(experiment_id), await self._snapshots.page(experiment_id, limit, offset)


def define(experiment: Experiment) -> Definition:
    """Return what decides on the experiment's results, but the events."""
    return Definition(
        experiment=ExperimentDefinition.model_validate(experiment),
        feature_flag=FlagDefinition.model_validate(experiment.feature_flag),
    )


async def _judge(counted: CountedExperiment) -> FunnelResultsRead | TrendResultsRead:
    return counted.judge()


async def _analyze(experiment: Experiment, counted: CountedExperiment) -> ScorecardRead:
    return await analyze_experiment(experiment, counted.require_scorecard())


async def _answer_or_refusal(question: Awaitable[Answer]) -> tuple[Answer | None, ErrorBody | None]:
    """Return the answer, or what stands in its place: that there are no data is worth keeping too."""
    try:
        return await question, None
    except Unavailable:  # of the database: no finding about the experiment
        raise
    except AppError as refusal:
        return None, ErrorBody(type=refusal.type, code=refusal.code, detail=refusal.detail, attr=refusal.attr)
