"""What the data say of the experiments of a list, within a time that a visitor waits."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from app.common.errors import ValidationFailed
from app.db.database import Database
from app.experiments.repository import ExperimentRecord, ExperimentRepository
from app.experiments.scorecard.decision_table import Recommendation
from app.experiments.scorecard.service import ScorecardService
from app.experiments.verdicts.schemas import VerdictRead

_SECONDS: Final = 2.0


@dataclass(frozen=True)
class ListedVerdict:
    """The recommendation for an experiment of a list. Without one, ``problem`` says why."""

    recommendation: Recommendation | None
    title: str = ""
    days_left: int | None = None
    problem: str = ""


_STILL_COUNTING: Final = ListedVerdict(None, problem="still counting")


class VerdictService:
    """Recommendations for several experiments of one project."""

    def __init__(self, database: Database, scorecards: ScorecardService, project_id: int) -> None:
        self._database = database
        self._scorecards = scorecards
        self._project_id = project_id

    async def of(self, records: Sequence[ExperimentRecord]) -> Mapping[int, ListedVerdict]:
        """Return what is known after two seconds, by experiment: where that is nothing, what was known last.

        What was counted by then is kept.
        """
        found = {record.id: _last_known(record) for record in records}
        try:
            async with asyncio.timeout(_SECONDS):
                async with self._database.read() as session:
                    experiments = await ExperimentRepository(session, self._project_id).with_ids(list(found))
                for experiment in experiments:
                    try:
                        decision = await self._scorecards.decision(experiment)
                    except ValidationFailed as refusal:
                        found[experiment.id] = ListedVerdict(None, problem=refusal.detail)
                        continue
                    found[experiment.id] = ListedVerdict(
                        decision.recommendation,
                        decision.title,
                        decision.progress.estimated_days_left,
                    )
        except TimeoutError:
            pass
        return found


def _last_known(record: ExperimentRecord) -> ListedVerdict:
    if record.verdict is None:
        return _STILL_COUNTING
    last = VerdictRead.model_validate_json(record.verdict)
    return ListedVerdict(last.recommendation, last.title)
