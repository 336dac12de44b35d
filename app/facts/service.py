"""Handing the facts of series over as columns."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.bulk import Columns
from app.database import Database
from app.facts.columns import FactColumns
from app.facts.matching import NO_NUMBER
from app.facts.materialise import Materialiser
from app.facts.repository import FactRepository, MergedPersons
from app.facts.series import SeriesDefinition
from app.persons.service import PersonFilterService
from app.properties.filters import Group


@dataclass(frozen=True)
class Window:
    """Moments in microseconds since 1970 UTC; ``since`` belongs to the window, ``until`` does not."""

    since: int
    until: int


@dataclass(frozen=True)
class Watch:
    """A series, and the filter on the persons behind its facts, which is tested against who they are today."""

    series: SeriesDefinition
    persons: Group


class FactService:
    """Facts of one project."""

    def __init__(self, database: Database, materialiser: Materialiser, project_id: int) -> None:
        self._database = database
        self._materialiser = materialiser
        self._project_id = project_id

    async def materialise(self, watches: Sequence[Watch]) -> None:
        """Bring the series up to the last committed event."""
        await self._materialiser.catch_up(self._project_id, [watch.series for watch in watches])

    async def columns(self, watches: Sequence[Watch], window: Window, variants: Sequence[str]) -> list[FactColumns]:
        """Return the facts of each series inside the window, fresh and from one snapshot.

        Variants are numbered by their place in ``variants``, from 1; 0 is none, ``len(variants) + 1`` any other text.
        """
        series = await self._materialiser.catch_up(self._project_id, [watch.series for watch in watches])
        async with self._database.snapshot() as session:
            facts = FactRepository(session, self._project_id)
            merged = await facts.merged_persons()
            persons = PersonFilterService(session, self._project_id)
            found = []
            for watch in watches:
                series_id = series.ids[watch.series.digest]
                slots = _slots(await facts.variant_codes(series_id), variants)
                read = await facts.columns(series_id, window.since, window.until, series.high_water_mark)
                columns = _columns(read, slots, merged)
                if watch.persons.children:
                    columns = columns.select(np.isin(columns.actor, await persons.matching(watch.persons)))
                found.append(columns)
        return found


def _slots(codes: dict[str, int], variants: Sequence[str]) -> NDArray[np.int32]:
    """Return the number of the variant behind each code."""
    slots = np.full(len(codes) + 1, len(variants) + 1, dtype=np.int32)
    slots[0] = 0
    for slot, variant in enumerate(variants, start=1):
        if variant in codes:
            slots[codes[variant]] = slot
    return slots


def _columns(columns: Columns, slots: NDArray[np.int32], merged: MergedPersons) -> FactColumns:
    value = columns["value"].astype(np.float64)
    return FactColumns(
        actor=merged.resolve(columns["person_id"].astype(np.int64)),
        time=columns["time"].astype(np.int64),
        variant=slots[columns["variant"].astype(np.int64)],
        value=np.where(value == NO_NUMBER, np.nan, value),
        sequence=columns["sequence"].astype(np.int64),
    )
