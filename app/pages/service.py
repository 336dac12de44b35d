"""Gathers everything that an experiment's page shows."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from app.common.errors import ValidationFailed
from app.db.models import Experiment, Project, utc_now
from app.experiments.exposures.counting import ExposureService
from app.experiments.exposures.responses import write_exposures
from app.experiments.exposures.schemas import ExposuresRead
from app.experiments.health.service import HealthService, Report
from app.experiments.lifecycle import Status, status_of
from app.experiments.results.schemas import FunnelResultsRead, TrendResultsRead
from app.experiments.results.service import ResultsService, judge
from app.experiments.scorecard.counting import metrics_of
from app.experiments.scorecard.service import Overview, ScorecardService
from app.flags.filters import variants_of


@dataclass(frozen=True)
class PlannedVariant:
    key: str
    name: str
    share: float


@dataclass(frozen=True)
class Verdict:
    """The verdict of 2022: a refusal, with its reason, where there is none."""

    results: FunnelResultsRead | TrendResultsRead | None
    refusal: str = ""


@dataclass(frozen=True)
class HealthReport:
    """What the data of a started experiment say."""

    overview: Overview
    health: Report
    exposures: ExposuresRead
    verdict: Verdict


@dataclass(frozen=True)
class ExperimentPage:
    """An experiment as it is shown.

    Attributes
    ----------
    findings : HealthReport or None
        None for a draft, and where nothing can be worked out; ``problem`` says why.
    timezone : ZoneInfo
        The project's: all moments are shown in it.
    """

    project: Project
    experiment: Experiment
    status: Status
    variants: Sequence[PlannedVariant]
    secondary_metrics: Sequence[str]
    computed_at: dt.datetime
    timezone: ZoneInfo
    findings: HealthReport | None
    problem: str = ""


class PageService:
    """Pages of one project's experiments, which are loaded already: it opens short transactions of its own."""

    def __init__(
        self,
        project: Project,
        scorecards: ScorecardService,
        exposures: ExposureService,
        findings: HealthService,
        results: ResultsService,
    ) -> None:
        self._project = project
        self._scorecards = scorecards
        self._exposures = exposures
        self._findings = findings
        self._results = results

    async def page(self, experiment: Experiment) -> ExperimentPage:
        findings, problem = None, ""
        if experiment.start_date is not None:
            try:
                findings = await self._find(experiment)
            except ValidationFailed as refusal:
                problem = refusal.detail
        flag = experiment.feature_flag
        return ExperimentPage(
            project=self._project,
            experiment=experiment,
            status=status_of(experiment.start_date, experiment.end_date, is_released=flag.active and not flag.deleted),
            variants=[
                PlannedVariant(str(one.get("key")), str(one.get("name") or ""), _share(one.get("rollout_percentage")))
                for one in variants_of(flag.filters)
            ],
            secondary_metrics=[metric.name for metric in metrics_of(experiment)[1:]],
            computed_at=utc_now(),
            timezone=ZoneInfo(self._project.timezone),
            findings=findings,
            problem=problem,
        )

    async def _find(self, experiment: Experiment) -> HealthReport:
        overview = await self._scorecards.overview(experiment)
        metric, refusal, results = None, "", None
        try:
            target = await self._results.target(experiment)
        except ValidationFailed as error:
            refusal, exposures = error.detail, await self._exposures.exposures(experiment)
        else:
            metric, exposures = target.evidence, target.exposures
            try:
                results = judge(target)
            except ValidationFailed as error:
                refusal = error.detail
        days_left = overview.decision.progress.estimated_days_left
        return HealthReport(
            overview=overview,
            health=await self._findings.check(experiment, exposures, metric, "" if metric else refusal, days_left),
            exposures=write_exposures(exposures),
            verdict=Verdict(results, refusal),
        )


def _share(share: object) -> float:
    return float(share) if isinstance(share, int | float) else 0.0
