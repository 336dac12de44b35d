"""Gathers everything that an experiment's page shows."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from app.common.errors import ValidationFailed
from app.common.time_slices import TimeSlices
from app.db.models import Experiment, Project, utc_now
from app.experiments.counting.service import ExperimentCounter, Verdict
from app.experiments.current_state import current_status
from app.experiments.exposures.responses import write_exposures
from app.experiments.exposures.schemas import ExposuresRead
from app.experiments.exposures.traffic_split import shares_of
from app.experiments.health.definition import DefinitionChecker
from app.experiments.health.rules import Finding
from app.experiments.health.service import HealthReport, report_ahead, report_health
from app.experiments.lifecycle import Status
from app.experiments.phases.checklist import ChecklistItem, LaunchChecklist
from app.experiments.scorecard.decision_criteria import MetricRole
from app.experiments.scorecard.experiment_metrics import metrics_of
from app.experiments.scorecard.metric_wording import MetricDescriber
from app.experiments.scorecard.schemas import DecisionRead
from app.experiments.scorecard.service import Overview, decide_ahead, summarize_experiment
from app.experiments.sharing import SharedCounts
from app.flags.filters import variants_of
from app.metrics.queries.service import MetricQueryBuilder
from app.metrics.queries.typed.rules import excluded_variants


@dataclass(frozen=True)
class PlannedVariant:
    key: str
    name: str
    share: float
    is_compared: bool = True


@dataclass(frozen=True)
class PlannedMeasure:
    """A metric before the start, the target metric first. ``measure`` says what it measures, if it can be read."""

    name: str
    role: MetricRole
    measure: str


@dataclass(frozen=True)
class ExperimentReport:
    """What the data of a started experiment say."""

    overview: Overview
    health: HealthReport
    exposures: ExposuresRead
    planned: Mapping[str, Sequence[float]]  # persons of each variant that the split predicts, by the exposures' days
    verdict: Verdict


@dataclass(frozen=True)
class ExperimentPage:
    """An experiment as its page shows it.

    Attributes
    ----------
    report : ExperimentReport or None
        None before the start, and where the experiment cannot be analyzed; ``problem`` says why.
    ahead : DecisionRead or None
        The recommendation before the start.
    findings : sequence of Finding
        Before the start: what keeps the experiment from being launched. Later ones are in the report.
    metrics : sequence of PlannedMeasure
        Before the start: what will be measured. Later the report says it.
    checklist : sequence of ChecklistItem
        Before the start: what is done and what is missing.
    timezone : ZoneInfo
        The project's: the page shows all times in it.
    """

    project: Project
    experiment: Experiment
    status: Status
    variants: Sequence[PlannedVariant]
    metrics: Sequence[PlannedMeasure]
    computed_at: dt.datetime
    timezone: ZoneInfo
    report: ExperimentReport | None
    ahead: DecisionRead | None
    problem: str = ""
    findings: Sequence[Finding] = ()
    checklist: Sequence[ChecklistItem] = ()


class PageService:
    """Pages of one project's experiments. It takes loaded experiments, and opens short transactions of its own."""

    def __init__(
        self,
        project: Project,
        counter: ExperimentCounter,
        shared: SharedCounts,
        checker: DefinitionChecker,
        checklists: LaunchChecklist,
        queries: MetricQueryBuilder,
    ) -> None:
        self._queries = queries
        self._checklists = checklists
        self._checker = checker
        self._shared = shared
        self._project = project
        self._counter = counter

    async def page(self, experiment: Experiment) -> ExperimentPage:
        report, problem, status, ahead = None, "", current_status(experiment), decide_ahead(experiment)
        findings: Sequence[Finding] = ()
        metrics: Sequence[PlannedMeasure] = ()
        checklist: Sequence[ChecklistItem] = ()
        if ahead is not None:
            findings = (await report_ahead(experiment, self._checker)).findings
            checklist = await self._checklists.of(experiment)
            metrics = await self._plan_metrics(experiment)
        else:
            try:
                report = await self._shared.kept_result("page", experiment, lambda: self._report(experiment))
            except ValidationFailed as refusal:
                problem = refusal.detail
        return ExperimentPage(
            project=self._project,
            experiment=experiment,
            status=status,
            variants=_variants(experiment, report),
            metrics=metrics,
            computed_at=utc_now(),
            timezone=ZoneInfo(self._project.timezone),
            report=report,
            ahead=ahead,
            problem=problem,
            findings=findings,
            checklist=checklist,
        )

    async def _plan_metrics(self, experiment: Experiment) -> Sequence[PlannedMeasure]:
        scope = self._queries.planned_scope(experiment)
        describer = MetricDescriber(self._queries, experiment, scope, await self._queries.unit(scope))
        planned = []
        slices = TimeSlices()
        for metric in metrics_of(experiment):
            await slices.pause()  # each takes a millisecond of the event loop
            wording = await describer.describe(metric.filters, metric.typed)
            planned.append(PlannedMeasure(metric.name, metric.role, "" if wording is None else wording.measure))
        return planned

    async def _report(self, experiment: Experiment) -> ExperimentReport:
        counted = await self._counter.count(experiment)
        scorecard, verdict = counted.require_scorecard(), counted.verdict()
        return ExperimentReport(
            overview=await summarize_experiment(experiment, scorecard, verdict.results),
            health=await report_health(experiment, counted),
            exposures=write_exposures(scorecard.exposures),
            planned=dict(zip(scorecard.scope.variants, scorecard.exposures.planned.tolist(), strict=True)),
            verdict=verdict,
        )


def _variants(experiment: Experiment, report: ExperimentReport | None) -> Sequence[PlannedVariant]:
    """Return the variants with their planned shares: over all phases of the split once persons were exposed."""
    planned = {} if report is None else {key: sum(persons) for key, persons in report.planned.items()}
    whole = sum(planned.values())
    shares = shares_of(experiment.feature_flag.filters)
    if whole:
        shares = {key: 100 * persons / whole for key, persons in planned.items()}
    excluded = excluded_variants(experiment.stats_config)
    named = {str(one.get("key")): str(one.get("name") or "") for one in variants_of(experiment.feature_flag.filters)}
    return [PlannedVariant(key, name, shares.get(key, 0.0), key not in excluded) for key, name in named.items()]
