"""Single flight for what is counted of an experiment, and what was counted last, as long as nothing is new."""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from app.common.timestamps import to_microseconds
from app.db.database import Database
from app.db.models import Base, Experiment, Project, utc_now
from app.metrics.counting.basis import Basis, recorded
from app.metrics.counting.repository import Position, PositionQueries
from app.metrics.facts.materializer import Materializer

T = TypeVar("T")

# While an experiment runs, its window ends now: figures are as of a moment in the same minute.
_SECONDS_OF_A_MOMENT: Final = 60


@dataclass(frozen=True)
class _Kept:
    value: Any
    basis: Basis
    position: Position


class SharedCounts:
    """Shares work on one project's experiments; see ``SingleFlight`` for what callers may rely on."""

    def __init__(self, database: Database, materializer: Materializer, project: Project) -> None:
        self._shared, self._kept = materializer.shared, materializer.kept
        self._positions = PositionQueries(database, project.id)
        self._project = project

    async def result(self, kind: str, experiment: Experiment, work: Callable[[], Awaitable[T]]) -> T:
        """Return what the work returns. ``kind`` names the work; the rest of the key is the experiment's state."""
        return await self.result_of_several(kind, [experiment], work)

    async def result_of_several(
        self, kind: str, experiments: Sequence[Experiment], work: Callable[[], Awaitable[T]]
    ) -> T:
        """Return what the work on several experiments returns, as ``result`` does."""
        return await self._shared.result(self._key(kind, *experiments), work)

    async def kept_result(self, kind: str, experiment: Experiment, work: Callable[[], Awaitable[T]]) -> T:
        """Return what the work returned last, if it would return the same again; else as ``result``.

        One query decides that nothing is new, for all callers that wait for it. It is for work that depends on nothing
        but what ``Basis`` records, the split's history, and what was loaded of the project and the experiment; and on
        the time only in that a running experiment ends now.
        """
        now, key = utc_now(), self._key(f"kept {kind}", experiment)
        bounds = [one is not None and one <= now for one in (experiment.start_date, experiment.end_date)]
        ends_now = "" if bounds[1] else f" {now.timestamp() // _SECONDS_OF_A_MOMENT}"
        key = f"{key} {bounds}{ends_now}"

        async def run() -> T:
            kept = self._kept.get(key)
            known = kept if isinstance(kept, _Kept) else None
            # Before the work: what is new during it is then seen the next time.
            position, is_current = await self._look(known, experiment)
            if known is not None and is_current:
                value: T = known.value
                return value
            with recorded() as basis:
                value = await work()
            if basis.is_whole:
                self._kept.put(key, _Kept(value, basis, position))
            return value

        return await self._shared.result(key, run)

    async def _look(self, kept: _Kept | None, experiment: Experiment) -> tuple[Position, bool]:
        """Return the position, and whether what was kept is still the same."""
        basis = Basis() if kept is None else kept.basis
        position, is_same = await self._positions.look(basis, experiment.feature_flag_id)
        is_due = basis.due is not None and basis.due <= to_microseconds(utc_now())
        return position, kept is not None and position == kept.position and is_same and not is_due

    def _key(self, kind: str, *experiments: Experiment) -> str:
        """Return everything loaded that the figures of experiments depend on."""
        loaded: list[Base] = [self._project]
        for experiment in experiments:
            loaded += [experiment, experiment.feature_flag, *experiment.saved_metrics]
        return json.dumps([kind, *map(_columns_of, loaded)], default=str)


def _columns_of(row: Base) -> list[object]:
    return [getattr(row, column.key) for column in row.__table__.columns]
