"""The launch checklist: what is done and what is missing before an experiment is launched."""

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from app.common.errors import Conflict, ValidationFailed
from app.common.number_texts import format_chosen_share
from app.db.database import Database
from app.db.models import Experiment, utc_now
from app.events.history import EventHistory
from app.experiments.current_state import current_status
from app.experiments.exposures.traffic_split import shares_of
from app.experiments.health.definition import DefinitionChecker, find_flag_problems
from app.experiments.lifecycle import describe_empty_window
from app.experiments.loading import load_experiment
from app.experiments.repository import ExperimentRepository
from app.experiments.scorecard.experiment_metrics import metrics_of
from app.flags.filters import groups_of
from app.flags.holdouts import read_holdout
from app.metrics.queries.scope import EXPOSURE_EVENTS
from app.metrics.queries.service import MetricQueryBuilder

Level: TypeAlias = Literal["critical", "recommended", "optional"]
State: TypeAlias = Literal["done", "missing"]

_BEGINNING: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_SIZES: Final = ("recommended_sample_size", "minimum_detectable_effect", "recommended_running_time")


@dataclass(frozen=True)
class ChecklistItem:
    """One thing to do before a launch. ``action`` is empty where it is done."""

    code: str
    title: str
    level: Level
    state: State
    detail: str
    action: str


class LaunchChecklist:
    """The launch checklists of one project's experiments."""

    def __init__(
        self, database: Database, project_id: int, checker: DefinitionChecker, queries: MetricQueryBuilder
    ) -> None:
        self._database = database
        self._project_id = project_id
        self._checker = checker
        self._queries = queries

    async def of(self, experiment: Experiment) -> Sequence[ChecklistItem]:
        """Return all items, those that keep the experiment from being launched first."""
        return [
            await self._definition(experiment),
            await self._flag_in_code(experiment),
            await self._exposure_event(experiment),
            _reach(experiment, await self._queries.unit(self._queries.planned_scope(experiment))),
            _planned_size(experiment),
            _guardrails(experiment),
            _holdout(experiment),
            _description(experiment),
        ]

    async def require(self, reference: str) -> None:
        """Refuse to launch a draft of which something recommended is missing.

        Where something critical is missing, nothing is refused here: the launch refuses that itself.

        Raises
        ------
        Conflict
            With the code ``checklist_incomplete``.
        """
        async with self._database.read() as session:
            experiment = await load_experiment(ExperimentRepository(session, self._project_id), reference)
        if current_status(experiment) not in {"draft", "scheduled"}:
            return
        missing = [item for item in await self.of(experiment) if item.state == "missing" and item.level != "optional"]
        if missing and all(item.level != "critical" for item in missing):
            titles = "; ".join(item.title for item in missing)
            raise Conflict(f"Not done yet: {titles}. See `launch_checklist/`.", code="checklist_incomplete")

    async def _definition(self, experiment: Experiment) -> ChecklistItem:
        problems = [*find_flag_problems(experiment), *await self._checker.problems(experiment)]
        details = [problem.detail for problem in problems]
        if empty := describe_empty_window(experiment.start_date, experiment.end_date):
            details.append(empty)
        return _item(
            "definition",
            "The metrics, the exposure and the flag can be counted",
            "critical",
            not details,
            " ".join(details) or "Nothing keeps the experiment from being launched.",
            "Change what is named: `launch/` refuses it.",
        )

    async def _flag_in_code(self, experiment: Experiment) -> ChecklistItem:
        key = experiment.feature_flag.key
        texts = [
            f'"$feature_flag":{space}{json.dumps(key, ensure_ascii=is_ascii)}'
            for space in ("", " ")
            for is_ascii in (True, False)
        ]
        is_seen = await EventHistory(self._database, self._project_id).any_with_text(
            EXPOSURE_EVENTS, texts, _BEGINNING, utc_now() + dt.timedelta(days=1)
        )
        seen = "evaluated the flag lately." if is_seen else "has not evaluated the flag lately, as far as events tell."
        return _item(
            "flag_in_code",
            "The flag is in the code",
            "recommended",
            is_seen,
            f"An SDK {seen}",
            f"Evaluate the flag {key!r} with an SDK that reports it.",
        )

    async def _exposure_event(self, experiment: Experiment) -> ChecklistItem:
        name, is_seen = "The exposure", False
        try:
            exposures = await self._queries.exposures(experiment, self._queries.planned_scope(experiment))
        except ValidationFailed:  # an item of its own
            exposures = None
        if exposures is not None:
            name = f"The event {exposures.event!r}"
            series = [part.series.names for part in exposures.event_sets[-1].parts]
            names = sorted({one for known in series for one in known or ()})
            is_seen = await EventHistory(self._database, self._project_id).any_named(names)
        return _item(
            "exposure_event",
            "The exposure event arrives",
            "recommended",
            is_seen,
            f"{name} has {'arrived before' if is_seen else 'never arrived'}.",
            "Send it once from a test device, and look at `GET events/`.",
        )


def _reach(experiment: Experiment, unit: str) -> ChecklistItem:
    filters = experiment.feature_flag.filters
    shares = [group.get("rollout_percentage") for group in groups_of(filters)]
    is_released = any(share is None or (isinstance(share, int | float) and share > 0) for share in shares)
    served = [key for key, share in shares_of(filters).items() if share > 0]
    is_split = len(served) > 1
    detail = f"The flag gives {', '.join(served) or 'no variant'} to {unit if is_released else f'no {unit}'}."
    action = "Give at least two variants a share, and a release condition a rollout."
    return _item("reach", f"The flag reaches {unit}", "recommended", is_released and is_split, detail, action)


def _planned_size(experiment: Experiment) -> ChecklistItem:
    parameters = experiment.parameters if isinstance(experiment.parameters, dict) else {}
    criteria = experiment.decision_criteria or {}
    is_planned = any(parameters.get(name) for name in _SIZES) or bool(criteria.get("target_mde"))
    return _item(
        "planned_size",
        "The size is planned",
        "recommended",
        is_planned,
        "A target effect or a size is set." if is_planned else "Neither a target effect nor a size is set.",
        "Plan with `POST power/`, and set `decision_criteria.target_mde`.",
    )


def _guardrails(experiment: Experiment) -> ChecklistItem:
    guardrails = [metric.name for metric in metrics_of(experiment) if metric.role.role == "guardrail"]
    return _item(
        "guardrails",
        "Harm would be noticed",
        "optional",
        bool(guardrails),
        f"Guardrails: {', '.join(guardrails)}." if guardrails else "No metric is a guardrail.",
        "Give a secondary metric the role `guardrail`, and a circuit breaker.",
    )


def _holdout(experiment: Experiment) -> ChecklistItem:
    holdout = read_holdout(experiment.feature_flag.filters)
    held = (
        "Nothing is held out." if holdout is None else f"{format_chosen_share(holdout.percentage / 100)} are held out."
    )
    action = "Set a holdout if the effect of several experiments together is to be known."
    return _item("holdout", "A holdout is chosen", "optional", holdout is not None, held, action)


def _description(experiment: Experiment) -> ChecklistItem:
    has_one = bool(experiment.description)
    detail = "It has a description." if has_one else "It has no description."
    action = "Write down what you expect, and why."
    return _item("description", "The expectation is written down", "optional", has_one, detail, action)


def _item(code: str, title: str, level: Level, is_done: bool, detail: str, action: str) -> ChecklistItem:  # noqa: FBT001  # one call a line
    return ChecklistItem(code, title, level, "done" if is_done else "missing", detail, "" if is_done else action)
