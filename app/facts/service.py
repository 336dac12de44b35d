"""Handing the facts of series over as columns."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.bulk import Columns
from app.database import Database
from app.facts.columns import FactColumns, union
from app.facts.conditions import CohortMembers, ConditionService, NoCohorts
from app.facts.matching import NO_NUMBER
from app.facts.materialise import Materialiser
from app.facts.repository import FactRepository, MergedPersons
from app.facts.series import SeriesDefinition
from app.facts.watches import Watch, series_of


@dataclass(frozen=True)
class Window:
    """Moments in microseconds since 1970 UTC; ``since`` belongs to the window, ``until`` does not."""

    since: int
    until: int


class FactService:
    """Facts of one project."""

    def __init__(
        self, database: Database, materialiser: Materialiser, project_id: int, cohorts: CohortMembers | None = None
    ) -> None:
        self._database = database
        self._materialiser = materialiser
        self._project_id = project_id
        self._cohorts = cohorts or NoCohorts()

    async def materialise(self, watches: Sequence[Watch]) -> None:
        """Bring the series up to the last committed event."""
        await self._materialiser.catch_up(self._project_id, series_of(watches))

    async def columns(
        self, watches: Sequence[Watch], window: Window, variants: Sequence[str], *, margin: int = 0
    ) -> list[FactColumns]:
        """Return the facts of each watch inside the window, fresh and from one snapshot.

        Variants are numbered by their place in ``variants``, from 1; 0 is none, ``len(variants) + 1`` any other text.
        ``margin`` makes the window wider on both sides, in microseconds.
        """
        series = await self._materialiser.catch_up(self._project_id, series_of(watches))
        async with self._database.snapshot() as session:
            facts = FactRepository(session, self._project_id)
            merged = await facts.merged_persons()

            async def read(definition: SeriesDefinition, margin: int) -> FactColumns:
                series_id = series.ids[definition.digest]
                slots = _slots(await facts.variant_codes(series_id), variants)
                since, until = window.since - margin, window.until + margin
                columns = await facts.columns(series_id, since, until, series.high_water_mark)
                return _columns(columns, slots, merged if definition.actor_property is None else None)

            conditions = ConditionService(session, self._project_id, self._cohorts, read)
            found = []
            for watch in watches:
                parts = [await conditions.passing(part, await read(part.series, margin)) for part in watch.parts]
                found.append(union(parts))
        return found


def _slots(codes: dict[str, int], variants: Sequence[str]) -> NDArray[np.int32]:
    """Return the number of the variant behind each code."""
    slots = np.full(len(codes) + 1, len(variants) + 1, dtype=np.int32)
    slots[0] = 0
    for slot, variant in enumerate(variants, start=1):
        if variant in codes:
            slots[codes[variant]] = slot
    return slots


def _columns(columns: Columns, slots: NDArray[np.int32], merged: MergedPersons | None) -> FactColumns:
    value = columns["value"].astype(np.float64)
    actor = columns["person_id"].astype(np.int64)
    return FactColumns(
        actor=actor if merged is None else merged.resolve(actor),
        time=columns["time"].astype(np.int64),
        variant=slots[columns["variant"].astype(np.int64)],
        value=np.where(value == NO_NUMBER, np.nan, value),
        sequence=columns["sequence"].astype(np.int64),
    )
