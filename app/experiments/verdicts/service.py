"""Keeps the last verdict on each experiment that has started."""

import asyncio
import datetime as dt
import logging
from collections.abc import AsyncGenerator
from typing import Any, Final

from app.common import limits
from app.common.errors import AppError, Unavailable
from app.common.progress import Progress
from app.db.database import Database
from app.db.errors import is_statement_timeout, is_transient_database_error
from app.db.models import Experiment
from app.experiments.repository import ExperimentRepository
from app.experiments.scorecard.service import ScorecardService
from app.experiments.verdicts.repository import VerdictRepository, VerdictsDue
from app.experiments.verdicts.schemas import VerdictRead
from app.metrics.failures import CountingFailures

logger = logging.getLogger("abacus")

# A verdict that is older is formed again while the experiment runs.
SECONDS_BETWEEN_VERDICTS: Final = 300
# So is, after a longer while, one of an experiment that has ended lately, and a missing one: late events and changes of
# the flag and the project reach both.
SECONDS_BETWEEN_LATE_VERDICTS: Final = 3600
DAYS_OF_LATE_VERDICTS: Final = 7
_VERDICT: Final = "verdict"  # in place of a metric, of which an experiment has several


class VerdictUpkeep:
    """Forms the verdicts on one project's experiments, from what the background has counted."""

    def __init__(
        self,
        database: Database,
        scorecards: ScorecardService,
        failures: CountingFailures,
        progress: Progress,
        project_id: int,
    ) -> None:
        self._database = database
        self._scorecards = scorecards
        self._failures = failures
        self._progress = progress
        self._project_id = project_id

    async def steps(self, now: dt.datetime) -> AsyncGenerator[None]:
        """Look at one experiment after the other, and pause after each. An error of one does not stop the others.

        One that repeatedly cannot be counted in time is passed over until its next attempt: it would come first again.
        """
        async with self._database.read() as session:
            undecided = await VerdictRepository(session, self._project_id).undecided(now, _due(now))
        for experiment_id in undecided:
            try:
                if not await self._look_at(experiment_id, now):
                    continue
            except Exception:
                logger.exception("the verdict on experiment %d could not be kept", experiment_id)
            yield

    async def _look_at(self, experiment_id: int, now: dt.datetime) -> bool:
        """Form the verdict on an experiment; return whether its next attempt is due."""
        async with self._database.read() as session:
            experiment = await ExperimentRepository(session, self._project_id).get(experiment_id)
        if experiment is None or experiment.start_date is None:  # it was deleted or reset meanwhile
            self._failures.keep_only(experiment_id, ())
            return True
        state = experiment.updated_at.isoformat()
        self._failures.keep_only(experiment_id, (state,))  # what has changed may be counted sooner
        if not self._failures.is_due(experiment_id, state):
            return False
        done = self._progress.done(self._project_id)
        try:
            verdict = await self._form(experiment, now)
        except Exception as error:
            is_late = isinstance(error, TimeoutError) or is_statement_timeout(error)
            if not is_late and not isinstance(error, Unavailable) and not is_transient_database_error(error):
                raise
            # Which says nothing about the experiment.
            logger.debug("the verdict on experiment %d is left as it is: %s", experiment.id, error)
            if self._progress.done(self._project_id) > done:
                # A first count goes on by itself, and the verdict is wanted soon after it is done.
                self._failures.forget(experiment.id, state)
            elif is_late:
                self._failures.note(experiment.id, _VERDICT, state, str(error))
            async with self._database.write(durable=False) as session:
                await VerdictRepository(session, self._project_id).put_off(experiment.id, now, _due(now))
        else:
            self._failures.forget(experiment.id, state)
            await self._keep(experiment, verdict, now)
        return True

    async def _form(self, experiment: Experiment, now: dt.datetime) -> dict[str, Any] | None:
        """Return what the data say; None where they cannot be counted, which health says.

        Raises
        ------
        Unavailable
            They cannot be counted at the moment.
        TimeoutError
            They cannot be counted in time. So do errors of the database say that are transient.
        """
        try:
            async with asyncio.timeout(limits.COUNT_SECONDS.value):
                decision = await self._scorecards.decision(experiment)
        except Unavailable:
            raise
        except (AppError, ValueError) as error:
            logger.debug("there is no verdict on experiment %d: %s", experiment.id, error)
            return None
        return VerdictRead.of(decision, now).model_dump(mode="json")

    async def _keep(self, experiment: Experiment, verdict: dict[str, Any] | None, now: dt.datetime) -> None:
        """Store a verdict, unless the experiment has changed since."""
        async with self._database.write(durable=False) as session:
            current = await ExperimentRepository(session, self._project_id).get(experiment.id, for_update=True)
            if current is not None and current.updated_at == experiment.updated_at:
                await VerdictRepository(session, self._project_id).keep(experiment.id, verdict, now, _due(now))


def _due(now: dt.datetime) -> VerdictsDue:
    between = dt.timedelta(seconds=SECONDS_BETWEEN_VERDICTS)
    return VerdictsDue(
        of_open=now - between,
        of_ended=now - dt.timedelta(seconds=SECONDS_BETWEEN_LATE_VERDICTS),
        ended_lately=now - dt.timedelta(days=DAYS_OF_LATE_VERDICTS),
        ahead=now + between,
    )
