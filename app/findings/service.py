"""Gathers the evidence about an experiment, and has it checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.activity_log.repository import ActivityRepository
from app.database import Database
from app.errors import ValidationFailed
from app.exposures.counting import Exposures
from app.exposures.service import ExposureService
from app.findings.rules import Evidence, Finding, SplitChange, Status, check, status_of
from app.flags.filters import groups_of, variants_of
from app.models import ActivityEntry, Experiment
from app.results.service import ResultsService
from app.results.target import MetricEvidence
from app.scorecards.counting import split_of
from app.scorecards.service import ScorecardService
from app.statistics.sample_ratio import check_sample_ratio
from app.types import write_moment


@dataclass(frozen=True)
class Report:
    status: Status
    findings: Sequence[Finding]


class FindingsService:
    """Checks one project's experiments."""

    def __init__(
        self,
        database: Database,
        project_id: int,
        exposures: ExposureService,
        results: ResultsService,
        scorecards: ScorecardService,
    ) -> None:
        self._database = database
        self._project_id = project_id
        self._exposures = exposures
        self._results = results
        self._scorecards = scorecards

    async def report(self, experiment: Experiment) -> Report:
        """Check everything about an experiment; a draft waits."""
        if experiment.start_date is None:
            return Report("waiting", [])
        metric, problem, days_left = None, "", None
        try:
            target = await self._results.target(experiment)
        except ValidationFailed as refusal:
            problem, exposures = refusal.detail, await self._exposures.exposures(experiment)
        else:
            metric, exposures = target.evidence, target.exposures
            days_left = await self._days_left(experiment)
        return await self.check(experiment, exposures, metric, problem, days_left)

    async def _days_left(self, experiment: Experiment) -> int | None:
        try:
            return (await self._scorecards.decision(experiment)).progress.estimated_days_left
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
        flag, split, exposed = experiment.feature_flag, split_of(experiment.feature_flag.filters), exposures.exposed
        can_test_split = sum(exposed.values()) > 0 and any(split.values())
        evidence = Evidence(
            is_running=experiment.end_date is None,
            is_flag_active=flag.active,
            is_flag_deleted=flag.deleted,
            split=split,
            forced_variants=sorted(
                {str(group["variant"]) for group in groups_of(flag.filters) if group.get("variant")}
            ),
            split_changes=await self._split_changes(experiment),
            exposed=exposed,
            in_several=exposures.counts.in_several,
            exposure_event=exposures.query.event,
            sample_ratio=check_sample_ratio(exposed, split) if can_test_split else None,
            metric=metric,
            metric_problem=problem,
            days_left=days_left,
        )
        findings = check(evidence)
        return Report(status_of(evidence, findings), findings)

    async def _split_changes(self, experiment: Experiment) -> list[SplitChange]:
        """Return the changes of the flag's variants between the experiment's start and its end."""
        if experiment.start_date is None:
            return []
        async with self._database.read() as session:
            entries = await ActivityRepository(session, self._project_id).since(
                "FeatureFlag", experiment.feature_flag_id, experiment.start_date
            )
        return [
            SplitChange(write_moment(entry.created_at), entry.user.email if entry.user else None)
            for entry in entries
            if _changes_split(entry) and (experiment.end_date is None or entry.created_at <= experiment.end_date)
        ]


def _changes_split(entry: ActivityEntry) -> bool:
    return any(
        change["field"] == "filters" and _shares(change["before"]) != _shares(change["after"])
        for change in entry.detail["changes"]
        if entry.activity != "created"
    )


def _shares(filters: object) -> Mapping[str, object]:
    variants = variants_of(filters) if isinstance(filters, dict) else []
    return {str(variant.get("key")): variant.get("rollout_percentage") for variant in variants}
