"""Tells receivers of what no request changes: a start or an end that has come, and what the data show."""

import asyncio
import datetime as dt
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from app.analysis.service import read_config
from app.common import limits
from app.common.errors import AppError
from app.db.database import Database
from app.db.models import Experiment, ExperimentNotice
from app.experiments.counting.service import ExperimentCounter
from app.experiments.current_state import current_status, state_of
from app.experiments.health.rules import Finding
from app.experiments.health.service import report_health
from app.experiments.repository import ExperimentRepository
from app.experiments.scorecard.counting import Scorecard
from app.experiments.scorecard.schemas import DecisionCriteria, DecisionRead, ExperimentStatsConfig
from app.experiments.scorecard.service import decide_on
from app.experiments.scorecard.standings import with_data
from app.experiments.webhooks.events import EVIDENCE_EVENTS, event_of_status, facts_of
from app.experiments.webhooks.outbox import Outbox
from app.experiments.webhooks.repository import WebhookRepository
from app.statistics.results import Analysis

logger = logging.getLogger("abacus")

SECONDS_BETWEEN_CHECKS: Final = 60
_OPEN: Final = ("running", "exposure_frozen")
# The findings of health that are told; those that are not `_TOLD_EARLY` after the minimum runtime only.
_WARNINGS: Final[Mapping[str, str]] = {
    "SRM": "srm",
    "ZERO_EXPOSURES": "no_data",
    "METRIC_NO_EVENTS": "no_data",
    "BIAS_RISK_MULTIPLE_EXCLUDED": "multiple",
    "UNDERPOWERED": "underpowered",
}
_TOLD_EARLY: Final = frozenset({"srm", "multiple"})
_DECISIONS: Final = frozenset({"ship", "rollback", "review"})

Document = dict[str, JsonValue]


@dataclass(frozen=True)
class FoundEvidence:
    """What the data of an experiment show: each by a key that stays the same while it does.

    ``decision`` is None while nothing is to be told about it.
    """

    warnings: Mapping[str, Document]
    significant: Mapping[str, Document]
    decision: tuple[str, Document] | None

    @property
    def known(self) -> Document:
        """What is remembered of it."""
        return {
            "warnings": [*sorted(self.warnings)],
            "significant": [*sorted(self.significant)],
            "decision": self.decision[0] if self.decision else None,
        }

    def new_since(self, known: Mapping[str, JsonValue]) -> list[tuple[str, Document]]:
        """Return the events of what was not so when it was looked at last."""
        found = [("experiment.warning", self.warnings[key]) for key in _new(self.warnings, known.get("warnings"))]
        found += [
            ("experiment.info.significance", self.significant[key])
            for key in _new(self.significant, known.get("significant"))
        ]
        if self.decision is not None and self.decision[0] != known.get("decision"):
            key, document = self.decision
            found.append((f"experiment.decision.{key.partition(' ')[0]}", document))
        return found


class EvidenceWatch:
    """Watches the experiments of one project, in transactions of its own. Without webhooks it costs one query."""

    def __init__(self, database: Database, counter: ExperimentCounter, project_id: int) -> None:
        self._database = database
        self._counter = counter
        self._project_id = project_id

    async def steps(self, now: dt.datetime) -> AsyncIterator[None]:
        """Look at one experiment after the other, and pause after each. An error of one does not stop the others."""
        async with self._database.read() as session:
            webhooks = WebhookRepository(session, self._project_id)
            receivers = await webhooks.active()
            if not receivers:
                return
            notices = {notice.experiment_id: notice for notice in await webhooks.notices()}
            experiments = await ExperimentRepository(session, self._project_id).watched(now)
        wants_evidence = any(EVIDENCE_EVENTS.intersection(webhook.events) for webhook in receivers)
        for experiment in experiments:
            try:
                if await self._look_at(experiment, notices.get(experiment.id), now, wants_evidence=wants_evidence):
                    yield
            except Exception:
                logger.exception("watching experiment %d failed", experiment.id)

    async def _look_at(
        self, experiment: Experiment, notice: ExperimentNotice | None, now: dt.datetime, *, wants_evidence: bool
    ) -> bool:
        """Look at an experiment, and tell what is new; return whether there was anything to do."""
        status = current_status(experiment, now)
        is_open = status in _OPEN and not experiment.archived
        if notice is None and not is_open:
            return False
        is_due = wants_evidence and is_open and _is_due(notice, now)
        if notice is not None and notice.status == status and not is_due:
            return False
        found = await self._find_or_none(experiment) if is_due else None
        async with self._database.write() as session:
            experiments = ExperimentRepository(session, self._project_id)
            await experiments.lock_upkeep()
            current = await experiments.get(experiment.id, for_update=True)
            if current is not None:
                await self._tell(WebhookRepository(session, self._project_id), current, found, now, is_checked=is_due)
        return True

    async def _tell(
        self,
        webhooks: WebhookRepository,
        experiment: Experiment,
        found: FoundEvidence | None,
        now: dt.datetime,
        *,
        is_checked: bool,
    ) -> None:
        """Add the events of what is new, and remember that it is known."""
        receivers, outbox = await webhooks.active(), Outbox(webhooks)
        status, state = current_status(experiment, now), state_of(experiment)
        facts, notice = facts_of(experiment.id, {**state, "status": status}), await webhooks.notice(experiment.id)
        event = None if notice is None else event_of_status(notice.status, status)
        if notice is not None and event is not None:
            data: Document = {"activity": "time_or_flag", "previous_status": notice.status}
            await outbox.add(receivers, event, facts, {**data, "changed_fields": [], "changed_by": None})
        notice = await outbox.remember_status(experiment.id, status)
        if not is_checked or status not in _OPEN or not _is_due(notice, now):  # another process was faster
            return
        notice.checked_at = now
        if found is not None:
            for name, document in found.new_since(notice.evidence):
                await outbox.add(receivers, name, facts, document)
            notice.evidence = found.known

    async def _find_or_none(self, experiment: Experiment) -> FoundEvidence | None:
        """Return what the data show; None where they cannot be counted, in time or at all, which health says."""
        try:
            return await self._find(experiment)
        except (AppError, ValueError, TimeoutError) as error:
            logger.debug("the data of experiment %d tell nothing: %s", experiment.id, error)
            return None

    async def _find(self, experiment: Experiment) -> FoundEvidence:
        """Return what the data show, by anytime-valid intervals: they are looked at every minute."""
        config = experiment.stats_config or {}
        sequential = config.get("sequential") or {}
        experiment.stats_config = {**config, "sequential": {**sequential, "enabled": True}}  # it is not stored
        async with asyncio.timeout(limits.COUNT_SECONDS.value):
            counted = await self._counter.count(experiment)
        report = await report_health(experiment, counted)
        scorecard = counted.require_scorecard()
        analyses = await asyncio.to_thread(
            scorecard.analyze, read_config(ExperimentStatsConfig.model_validate(experiment.stats_config))
        )
        decision = await decide_on(experiment, scorecard, analyses, counted.verdict().results)
        criteria = DecisionCriteria.model_validate(experiment.decision_criteria or {})
        is_early = decision.progress.runtime_days < criteria.minimum_runtime_days
        decided = _decision(decision, is_early=is_early)
        warnings = _warnings(report.findings, is_early=is_early)
        if decided is not None:  # the data suffice
            warnings.pop("underpowered", None)
        return FoundEvidence(warnings, {} if is_early else _significant(scorecard, analyses), decided)


def _is_due(notice: ExperimentNotice | None, now: dt.datetime) -> bool:
    """Whether it is time to look at the data of an experiment again."""
    if notice is None or notice.checked_at is None:
        return True
    return notice.checked_at + dt.timedelta(seconds=SECONDS_BETWEEN_CHECKS) <= now


def _new(found: Mapping[str, Document], known: JsonValue) -> list[str]:
    return [key for key in found if not isinstance(known, list) or key not in known]


def _warnings(findings: Sequence[Finding], *, is_early: bool) -> dict[str, Document]:
    warnings: dict[str, Document] = {}
    for finding in findings:
        kind = _WARNINGS.get(finding.code)
        if kind is not None and (kind in _TOLD_EARLY or not is_early):
            warnings.setdefault(
                kind, {"warning": kind, "code": finding.code, "title": finding.title, "detail": finding.detail}
            )
    return warnings


def _significant(scorecard: Scorecard, analyses: Sequence[Analysis | None]) -> dict[str, Document]:
    found: dict[str, Document] = {}
    for counted, analysis in zip(scorecard.metrics, analyses, strict=True):
        for variant in with_data(analysis) if analysis is not None else ():
            if variant.decision is None or variant.decision.code != "significant":
                continue
            direction = "increase" if (variant.difference.estimate or 0) > 0 else "decrease"
            metric, interval = counted.metric, variant.relative_difference.sequential_interval
            found[f"{metric.id} {variant.sample.key} {direction}"] = {
                "metric_id": metric.id,
                "metric_name": metric.name,
                "variant_key": variant.sample.key,
                "direction": direction,
                "is_better": direction == metric.role.goal,
                "relative_sequential_interval": None if interval is None else [float(end) for end in interval],
            }
    return found


def _decision(decision: DecisionRead, *, is_early: bool) -> tuple[str, Document] | None:
    if is_early or decision.recommendation not in _DECISIONS:
        return None
    document: Document = {
        "recommendation": decision.recommendation,
        "variant_key": decision.variant_key,
        "evidence": decision.evidence,
        "summary": decision.summary,
        "rule": decision.rule.detail,
    }
    return f"{decision.recommendation} {decision.variant_key or ''}".rstrip(), document
