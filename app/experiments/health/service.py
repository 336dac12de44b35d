"""Gathers the evidence about an experiment, and has it checked."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.common.errors import ValidationFailed
from app.db.models import Experiment, utc_now
from app.experiments.exposures.counting import Exposures, ExposureService
from app.experiments.exposures.traffic_split import TrafficSplitQueries
from app.experiments.health.rules import Evidence, Finding, check, exposures_removed, status_of
from app.experiments.results.health_summary import Status
from app.experiments.results.service import ResultsService
from app.experiments.results.target import MetricEvidence
from app.experiments.scorecard.service import ScorecardService
from app.flags.filters import groups_of
from app.metrics.counting.service import EventsRemoved


@dataclass(frozen=True)
class Report:
    status: Status
    findings: Sequence[Finding]


class HealthService:
    """Checks one project's experiments."""

    def __init__(
        self,
        exposures: ExposureService,
        results: ResultsService,
        scorecards: ScorecardService,
        splits: TrafficSplitQueries,
    ) -> None:
        self._splits = splits
        self._exposures = exposures
        self._results = results
        self._scorecards = scorecards

    async def report(self, experiment: Experiment) -> Report:
        """Check everything about an experiment; one that has not begun waits."""
        if experiment.start_date is None or experiment.start_date > utc_now():
            return Report("waiting", [])
        metric, problem, days_left = None, "", None
        try:
            target = await self._results.target(experiment)
        except ValidationFailed as refusal:
            problem = refusal.detail
            try:
                exposures = await self._exposures.exposures(experiment)
            except EventsRemoved as removed:
                return Report("warning", [exposures_removed(removed.detail)])
        else:
            metric, exposures = target.evidence, target.exposures
            days_left = await self._days_left(experiment)
        return await self.check(experiment, exposures, metric, problem, days_left)

    async def _days_left(self, experiment: Experiment) -> int | None:
        try:
            return (await self._scorecards.progress(experiment)).days_left
        except ValidationFailed:  # its stats_config does not fit the flag any more: told to who asks for the analysis
            return None

    async def check(
        self,
        experiment: Experiment,
        exposures: Exposures,
        metric: MetricEvidence | None,
        problem: str = "",
        days_left: int | None = None,
    ) -> Report:
        """Check a started experiment whose exposures and target metric were counted already."""
        flag, split, exposed = experiment.feature_flag, await self._splits.split(experiment), exposures.exposed
        evidence = Evidence(
            is_running=experiment.end_date is None,
            is_flag_active=flag.active,
            is_flag_deleted=flag.deleted,
            split=split.shares,
            forced_variants=sorted(
                {str(group["variant"]) for group in groups_of(flag.filters) if group.get("variant")}
            ),
            split_changes=split.changes,
            exposed=exposed,
            in_several=exposures.counts.in_several,
            exposure_event=exposures.query.event,
            exposure_problem=exposures.query.problem,
            sample_ratio=split.test(exposed),
            metric=metric,
            metric_problem=problem,
            days_left=days_left,
        )
        findings = check(evidence)
        return Report(status_of(evidence, findings), findings)
