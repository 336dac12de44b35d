"""Gathers the evidence about an experiment, and checks it."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.common.errors import ValidationFailed
from app.db.models import Experiment, utc_now
from app.experiments.counting.service import CountedExperiment, ExperimentCounter
from app.experiments.exposures.counting import Exposures
from app.experiments.exposures.traffic_split import TrafficSplit, TrafficSplitQueries
from app.experiments.health.filter_problems import FilterProblems
from app.experiments.health.rules import (
    Evidence,
    Finding,
    check,
    exposures_removed,
    filters_not_understood,
    metric_not_counted,
    sort_findings,
    status_of,
)
from app.experiments.results.health_summary import Status
from app.experiments.results.target import CountedTarget, MetricEvidence
from app.experiments.scorecard.counting import NEEDED_METRICS, PRIMARY, metrics_of
from app.experiments.scorecard.service import estimate_days_left
from app.experiments.sharing import SharedCounts
from app.flags.filters import groups_of
from app.metrics.counting.service import EventsRemoved
from app.metrics.failures import CountingFailures, Failure


@dataclass(frozen=True)
class HealthReport:
    """The status of an experiment, and the findings behind it."""

    status: Status
    findings: Sequence[Finding]


class HealthService:
    """Checks one project's experiments."""

    def __init__(
        self,
        counter: ExperimentCounter,
        splits: TrafficSplitQueries,
        shared: SharedCounts,
        failures: CountingFailures,
        filters: FilterProblems,
    ) -> None:
        self._counter = counter
        self._splits = splits
        self._shared = shared
        self._failures = failures
        self._filters = filters

    async def report(self, experiment: Experiment) -> HealthReport:
        """Check everything about an experiment; before its start, only whether its filters are understood."""
        problems = await self._filters.of(experiment)
        added = [filters_not_understood(problems)] if problems else []
        try:
            return _with(await self._counted_report(experiment), added)
        except ValidationFailed:
            if not added:
                raise
            return HealthReport("unhealthy", added)

    async def _counted_report(self, experiment: Experiment) -> HealthReport:
        if _is_ahead(experiment):
            return _WAITING
        uncounted = self._failures.given_up(experiment.id)
        if any(failure.metric_id in NEEDED_METRICS for failure in uncounted):  # counting would fail once more
            return HealthReport("warning", [_not_counted(experiment, failure) for failure in uncounted])
        report = await self._shared.result("health", experiment, lambda: self._report(experiment))
        return self._with_uncounted(experiment, report)

    async def _report(self, experiment: Experiment) -> HealthReport:
        return await report_health(experiment, await self._counter.count(experiment, only={PRIMARY}))

    def _with_uncounted(self, experiment: Experiment, report: HealthReport) -> HealthReport:
        """Return a report with the metrics that could not be counted in the background."""
        return _with(report, [_not_counted(experiment, failure) for failure in self._failures.given_up(experiment.id)])

    async def report_on_target(self, experiment: Experiment, target: CountedTarget) -> HealthReport:
        """Check a started experiment of which only the target metric was counted."""
        split = await self._splits.split(experiment)
        report = check_experiment(experiment, target.exposures, split, target.evidence)
        return self._with_uncounted(experiment, report)


async def report_health(experiment: Experiment, counted: CountedExperiment) -> HealthReport:
    """Check an experiment that was counted; before its start it is waiting.

    Raises
    ------
    ValidationFailed
        When its exposures cannot be counted, unless that is because events were removed.
    """
    if _is_ahead(experiment):
        return _WAITING
    if isinstance(counted.scorecard, EventsRemoved):
        return HealthReport("warning", [exposures_removed(counted.scorecard.detail)])
    target, scorecard = counted.target, counted.require_scorecard()
    if isinstance(target, ValidationFailed):
        return check_experiment(experiment, scorecard.exposures, scorecard.split, None, target.detail)
    try:
        days_left = await estimate_days_left(experiment, scorecard)
    except ValidationFailed:  # stats_config no longer fits the flag: the analysis reports that
        days_left = None
    return check_experiment(experiment, scorecard.exposures, scorecard.split, target.evidence, days_left=days_left)


def check_experiment(
    experiment: Experiment,
    exposures: Exposures,
    split: TrafficSplit,
    metric: MetricEvidence | None,
    metric_problem: str = "",
    *,
    days_left: int | None = None,
) -> HealthReport:
    """Check a started experiment whose exposures and target metric were counted; see ``Evidence``."""
    flag = experiment.feature_flag
    evidence = Evidence(
        is_running=experiment.end_date is None,
        is_flag_active=flag.active,
        is_flag_deleted=flag.deleted,
        split=split.shares,
        forced_variants=sorted({str(group["variant"]) for group in groups_of(flag.filters) if group.get("variant")}),
        split_changes=split.changes,
        exposed=exposures.exposed,
        in_several=exposures.counts.in_several,
        exposure_event=exposures.query.event,
        exposure_problem=exposures.query.problem,
        sample_ratio=split.test(exposures.exposed),
        metric=metric,
        metric_problem=metric_problem,
        days_left=days_left,
    )
    findings = check(evidence)
    return HealthReport(status_of(evidence, findings), findings)


def _with(report: HealthReport, added: Sequence[Finding]) -> HealthReport:
    """Return a report with further findings."""
    if not added:
        return report
    is_critical = report.status == "unhealthy" or any(finding.severity == "critical" for finding in added)
    return HealthReport("unhealthy" if is_critical else "warning", sort_findings([*report.findings, *added]))


def _not_counted(experiment: Experiment, failure: Failure) -> Finding:
    names = {metric.id: metric.name for metric in metrics_of(experiment)}
    return metric_not_counted(failure.metric_id, names.get(failure.metric_id, failure.metric_id), failure.detail)


def _is_ahead(experiment: Experiment) -> bool:
    return experiment.start_date is None or experiment.start_date > utc_now()


_WAITING = HealthReport("waiting", [])
