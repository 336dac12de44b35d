"""Gathers the evidence about an experiment, and checks it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.common.errors import ValidationFailed
from app.db.models import Experiment, utc_now
from app.experiments.compared_variants import baseline_of
from app.experiments.counting.service import CountedExperiment, ExperimentCounter
from app.experiments.exposures.counting import Exposures
from app.experiments.health.attribution_rules import check_attribution
from app.experiments.health.bias_findings import find_pre_exposure_bias
from app.experiments.health.counting_findings import exposures_removed, filters_not_understood, metric_not_counted
from app.experiments.health.definition import DefinitionChecker, find_flag_problems
from app.experiments.health.definition_findings import (
    find_early_flag,
    find_empty_window,
    find_invalid_parts,
    find_lost_holdout,
    find_unknown_attribution,
    find_unknown_settings,
)
from app.experiments.health.filter_problems import FilterProblems
from app.experiments.health.phase_findings import find_phases
from app.experiments.health.rules import (
    Evidence,
    Finding,
    check,
    sort_findings,
    status_of,
)
from app.experiments.results.health_summary import Status
from app.experiments.results.target import CountedTarget, MetricEvidence
from app.experiments.scorecard.counting import NEEDED_METRICS, CountedMetric, Scorecard
from app.experiments.scorecard.experiment_metrics import PRIMARY, metrics_of
from app.experiments.scorecard.progress import Progress
from app.experiments.scorecard.service import estimate_progress, find_bias
from app.experiments.sharing import SharedCounts
from app.flags.filters import groups_of, reaches_everyone
from app.metrics.counting.service import EventsRemoved
from app.metrics.failures import CountingFailures, Failure
from app.metrics.queries.typed.reading import parse_metric
from app.metrics.queries.typed.schemas import ExposureNode, RetentionMetric


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
        shared: SharedCounts,
        failures: CountingFailures,
        checker: DefinitionChecker,
        filters: FilterProblems,
    ) -> None:
        self._checker = checker
        self._counter = counter
        self._shared = shared
        self._failures = failures
        self._filters = filters

    async def report(self, experiment: Experiment) -> HealthReport:
        """Check everything about an experiment; before its start its definition, and without findings it is waiting."""
        problems = await self._filters.of(experiment, with_metrics=not _is_ahead(experiment))
        added = [filters_not_understood(problems)] if problems else []
        try:
            return _with(_without_causes(await self._counted_report(experiment), problems), added)
        except ValidationFailed:
            if not added:
                raise
            return HealthReport("unhealthy", added)

    async def _counted_report(self, experiment: Experiment) -> HealthReport:
        if _is_ahead(experiment):
            return await report_ahead(experiment, self._checker)
        uncounted = self.uncounted(experiment)
        if any(failure.metric_id in NEEDED_METRICS for failure in uncounted):  # counting would fail once more
            return HealthReport("warning", [_not_counted(experiment, failure) for failure in uncounted])
        report = await self._shared.kept_result(f"health {uncounted!r}", experiment, lambda: self._report(experiment))
        return self._with_uncounted(experiment, report)

    async def _report(self, experiment: Experiment) -> HealthReport:
        given_up = {failure.metric_id for failure in self.uncounted(experiment)}
        needed = {PRIMARY} | (self._counter.adjusted_metrics(experiment) - given_up)
        return await report_health(experiment, await self._counter.count(experiment, only=needed))

    def _with_uncounted(self, experiment: Experiment, report: HealthReport) -> HealthReport:
        """Return a report with the metrics that could not be counted in the background."""
        return _with(report, [_not_counted(experiment, failure) for failure in self.uncounted(experiment)])

    def uncounted(self, experiment: Experiment) -> Sequence[Failure]:
        """Return the metrics of an experiment that could not be counted in the background."""
        return self._failures.given_up(experiment.id)

    async def report_on_target(self, experiment: Experiment, target: CountedTarget) -> HealthReport:
        """Check a started experiment of which only the target metric was counted."""
        report = check_experiment(experiment, target.exposures, target.evidence)
        return self._with_uncounted(experiment, report)


async def report_ahead(experiment: Experiment, checker: DefinitionChecker) -> HealthReport:
    """Check the definition of an experiment that has not started."""
    problems = [*find_flag_problems(experiment), *await checker.problems(experiment)]
    found = [*find_invalid_parts(problems), *find_empty_window(experiment), *find_early_flag(experiment)]
    found += find_phases(experiment)
    found += find_lost_holdout(experiment)
    is_wrong = any(finding.severity == "critical" for finding in found)
    return HealthReport("unhealthy" if is_wrong else "waiting", sort_findings(found))


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
    scorecard = counted.require_scorecard()
    metric, problem = _target_evidence(experiment, counted.target, scorecard)
    if metric is None:
        return check_experiment(experiment, scorecard.exposures, None, problem)
    try:
        progress = await estimate_progress(experiment, scorecard)
        biased = await find_bias(experiment, scorecard)
    except ValidationFailed:  # stats_config no longer fits the flag: the analysis reports that
        progress, biased = None, []
    found = find_pre_exposure_bias(biased, scorecard.exposures.query.unit)
    return _with(check_experiment(experiment, scorecard.exposures, metric, progress=progress), found)


def _target_evidence(
    experiment: Experiment, target: CountedTarget | ValidationFailed, scorecard: Scorecard
) -> tuple[MetricEvidence | None, str]:
    """Return the counts of the target metric, of 2022 or typed, or why there are none."""
    if not isinstance(target, ValidationFailed):
        return target.evidence, ""
    typed = next((one for one in scorecard.metrics if one.metric.id == PRIMARY and one.metric.typed), None)
    if typed is None:
        return None, target.detail
    if typed.counts is None:
        return None, typed.problem
    keys, unit = scorecard.scope.variants, scorecard.exposures.query.unit
    persons = dict(zip(keys, typed.persons, strict=True))
    awaits_windows = experiment.only_count_matured_users and not _has_own_start(typed)
    evidence = MetricEvidence(
        unit, persons, 0, 0, is_typed=True, is_silent=typed.is_silent, awaits_windows=awaits_windows
    )
    return evidence, ""


def _has_own_start(counted: CountedMetric) -> bool:
    """Whether a typed metric counts persons only after an event other than the exposure."""
    metric = parse_metric(counted.metric.typed)
    return isinstance(metric, RetentionMetric) and not isinstance(metric.start_event, ExposureNode)


def check_experiment(
    experiment: Experiment,
    exposures: Exposures,
    metric: MetricEvidence | None,
    metric_problem: str = "",
    *,
    progress: Progress | None = None,
) -> HealthReport:
    """Check a started experiment whose exposures and target metric were counted; see ``Evidence``."""
    flag = experiment.feature_flag
    evidence = Evidence(
        is_running=experiment.end_date is None or experiment.end_date > utc_now(),
        baseline=baseline_of(exposures.scope.variants, experiment.stats_config),
        compared=exposures.compared,
        is_flag_active=flag.active,
        is_flag_deleted=flag.deleted,
        split=exposures.split.shares,
        forced_variants=sorted({str(group["variant"]) for group in groups_of(flag.filters) if group.get("variant")}),
        reaches_everyone=reaches_everyone(flag.filters),
        split_changes=exposures.split.changes,
        unit=exposures.query.unit,
        attributed_by=exposures.scope.attributed_by,
        lost_variants=exposures.lost,
        without_group=exposures.counts.without_actor,
        exposed=exposures.exposed,
        in_several=exposures.counts.in_several,
        exposure_event=exposures.query.event,
        exposure_problem=exposures.query.problem,
        unread_timestamps=exposures.unread_timestamps,
        sample_ratio=exposures.sample_ratio,
        metric=metric,
        metric_problem=metric_problem,
        progress=progress,
    )
    empty_window, found = find_empty_window(experiment), [*check(evidence), *check_attribution(evidence)]
    if empty_window:  # which is why there are no events
        found = [finding for finding in found if finding.code != "METRIC_NO_EVENTS"]
    of_definition = [*empty_window, *find_unknown_settings(experiment), *find_unknown_attribution(experiment)]
    of_definition += find_lost_holdout(experiment)
    findings = sort_findings([*of_definition, *find_phases(experiment), *found])
    return HealthReport(status_of(evidence, findings), findings)


def _without_causes(report: HealthReport, problems: Sequence[str]) -> HealthReport:
    """Return a report in which the target metric is not named again for a filter that has a finding of its own."""
    causes = tuple(problem.partition(": ")[2] for problem in problems)
    findings = [one for one in report.findings if one.code != "NO_METRIC" or one.detail not in causes]
    return replace(report, findings=findings)


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
