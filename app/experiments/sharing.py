"""Single flight for what is counted of an experiment: visitors who come at the same time share one count."""

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from app.common.single_flight import SingleFlight
from app.db.models import Experiment, Project

T = TypeVar("T")


class SharedCounts:
    """Shares work on one project's experiments; see ``SingleFlight`` for what callers may rely on."""

    def __init__(self, shared: SingleFlight, project: Project) -> None:
        self._shared = shared
        self._project = project

    async def result(self, kind: str, experiment: Experiment, work: Callable[[], Awaitable[T]]) -> T:
        """Return what the work returns. ``kind`` names the work; the rest of the key is the experiment's state."""
        return await self.result_of_several(kind, [experiment], work)

    async def result_of_several(
        self, kind: str, experiments: Sequence[Experiment], work: Callable[[], Awaitable[T]]
    ) -> T:
        """Return what the work on several experiments returns, as ``result`` does."""
        project = self._project
        settings = [project.id, project.timezone, project.test_account_filters]
        settings += [project.default_attribution, project.default_cuped]
        key = json.dumps([kind, settings, [_state(one) for one in experiments]])
        return await self._shared.result(key, work)


def _state(experiment: Experiment) -> list[object]:
    """Return everything loaded that the figures of an experiment depend on."""
    flag = experiment.feature_flag
    return [
        [experiment.id, experiment.name, str(experiment.start_date), str(experiment.end_date)],
        [experiment.parameters, experiment.filters, experiment.secondary_metrics],
        [experiment.metrics, experiment.metrics_secondary, experiment.saved_metrics_ids],
        [metric.query for metric in experiment.saved_metrics],
        [experiment.exposure_criteria, experiment.only_count_matured_users, experiment.holdout_id],
        [experiment.scheduling_config, experiment.circuit_breakers, experiment.automatic_actions],
        [experiment.exposure_freeze, experiment.baseline_hold],
        [experiment.stats_config, experiment.decision_criteria, experiment.conclusion],
        [flag.id, flag.key, flag.filters, flag.active, flag.deleted],
    ]
