"""The last verdicts in the database, and on which experiments another one is due."""

import datetime as dt
from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.models import Experiment, ExperimentVerdict, SavedMetric
from app.db.upserts import insert_or_update
from app.experiments.repository import HAS_ENDED, IS_OPEN, NOW


class VerdictsDue(NamedTuple):
    """From when on verdicts are too old, by when the data were looked at last.

    ``of_open``: of experiments that run. ``of_ended``: of those that ended after ``ended_lately``, and of those whose
    data could not be counted. Verdicts from before their experiment's end, or before the change of a saved metric that
    it counts, are due anyway, and so are those of the time ``ahead``, when a clock was wrong.
    """

    of_open: dt.datetime
    of_ended: dt.datetime
    ended_lately: dt.datetime
    ahead: dt.datetime


class VerdictRepository:
    """Bound to one project when built, so no query can forget the tenant."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id

    async def undecided(self, now: dt.datetime, due: VerdictsDue) -> list[int]:
        """Return the ids of the started experiments on which a verdict is due, of those that wait longest first."""
        is_old = IS_OPEN & (ExperimentVerdict.decided_at < due.of_open)
        is_early = HAS_ENDED & (ExperimentVerdict.decided_at < Experiment.end_date)
        may_change = ExperimentVerdict.document.is_(None) | (Experiment.end_date > due.ended_lately)
        is_late = may_change & (ExperimentVerdict.decided_at < due.of_ended)
        is_ahead = ExperimentVerdict.decided_at > due.ahead
        wanted = ExperimentVerdict.experiment_id.is_(None) | is_old | is_early | is_late | is_ahead
        query = (
            select(Experiment.id)
            .outerjoin(ExperimentVerdict, ExperimentVerdict.experiment_id == Experiment.id)
            .where(Experiment.project_id == self._project_id, Experiment.start_date <= now, wanted)
            .order_by(ExperimentVerdict.decided_at.asc().nulls_first(), Experiment.id)
        )
        found = (await self._session.scalars(query, {NOW: now})).all()
        return list(dict.fromkeys([*found, *await self._with_changed_metrics(due.ended_lately)]))

    async def _with_changed_metrics(self, ended_lately: dt.datetime) -> list[int]:
        """Return the ids of experiments that ended longer ago, and of which a saved metric has changed since."""
        query = (
            select(Experiment.id, Experiment.saved_metrics_ids, ExperimentVerdict.decided_at)
            .join(ExperimentVerdict, ExperimentVerdict.experiment_id == Experiment.id)
            .where(Experiment.project_id == self._project_id, Experiment.end_date <= ended_lately)
            .where(Experiment.saved_metrics_ids.is_not(None))
        )
        rows = (await self._session.execute(query)).all()
        if not rows:
            return []
        metrics = select(SavedMetric.id, SavedMetric.updated_at).where(SavedMetric.project_id == self._project_id)
        changed = {row.id: row.updated_at for row in await self._session.execute(metrics)}
        return [
            experiment_id
            for experiment_id, links, decided_at in rows
            if any(changed[link["id"]] > decided_at for link in links or () if link["id"] in changed)
        ]

    async def keep(
        self, experiment_id: int, verdict: Mapping[str, Any] | None, now: dt.datetime, due: VerdictsDue
    ) -> None:
        """Store a verdict that was formed of the data of a moment, unless a later one is stored."""
        values = {"document": verdict, "decided_at": now}
        is_earlier = (ExperimentVerdict.decided_at <= now) | (ExperimentVerdict.decided_at > due.ahead)
        key = {ExperimentVerdict.experiment_id: experiment_id}
        await insert_or_update(self._session, ExperimentVerdict, key, values, where=is_earlier)

    async def put_off(self, experiment_id: int, now: dt.datetime, due: VerdictsDue) -> None:
        """Look at an experiment with a verdict later, as if it were formed now.

        One without, and one that is looked at a last time, is looked at soon: nothing else would follow it.
        """
        is_last = (Experiment.end_date > ExperimentVerdict.decided_at) | (Experiment.end_date <= due.ended_lately)
        is_looked_at_last = (
            select(Experiment.id).where(Experiment.id == experiment_id, Experiment.end_date <= now, is_last).exists()
        )
        await self._session.execute(
            update(ExperimentVerdict)
            .where(ExperimentVerdict.experiment_id == experiment_id, ExperimentVerdict.decided_at < now)
            .where(~is_looked_at_last)
            .values(decided_at=now)
            .execution_options(synchronize_session=False)
        )
