"""Facts that answers count already, and that are stored while others go on.

Storing facts takes longer than making and counting them. They are derived: what is lost with the process is made again
from the events, and a process that finds that another one was faster leaves its own out.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field

from app.db.database import Database
from app.db.errors import describe
from app.metrics.facts.columns import Column, FactColumns, concatenate
from app.metrics.facts.made_facts import MadeFacts
from app.metrics.facts.repository import FactRepository
from app.metrics.facts.stored_series import SeriesGone, StoredSeries

logger = logging.getLogger("abacus")


async def store_made(database: Database, project_id: int, series_id: int, digest: str, made: MadeFacts) -> None:
    """Store the facts of the next events of a series, and move its watermark, in one transaction.

    Raises
    ------
    SeriesGone
        When the series was removed.
    """
    async with database.write(durable=False, owner=project_id) as session:
        facts = FactRepository(session, project_id)
        watermark = (await facts.lock({series_id: digest}))[series_id]
        if watermark >= made.until:  # another process was faster
            return
        if watermark < made.after:
            raise ValueError("the facts of the events before these are not stored")
        new = made.later_than(watermark)
        bulk = await facts.choose_bulk({series_id: len(new)}, new.until)
        await facts.insert_made(series_id, new, in_bulk=series_id in bulk)
        await facts.move_watermarks([series_id], new.until)


@dataclass(eq=False)
class UnstoredSeries:
    """The facts of a series after its watermark, which are in memory.

    Others may count them once they are ``checked``: no process stored facts of the series while these were made.
    """

    project_id: int
    series_id: int
    digest: str
    after: int
    parts: list[MadeFacts] = field(default_factory=list)
    checked: bool = False
    storing: asyncio.Task[None] | None = None
    failure: Exception | None = None

    @property
    def until(self) -> int:
        """The last event whose facts are made."""
        return self.parts[-1].until if self.parts else self.after

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def facts(self, variants: Sequence[str], columns: Set[Column], since: int, high_water_mark: int) -> FactColumns:
        """Return the facts up to the high-water mark that happened at or after a moment; see ``FactStore.read``."""
        found: list[FactColumns] = []
        for part in self.parts:
            is_asked = part.columns["time"] >= since
            if part.until > high_water_mark:
                is_asked &= part.columns["sequence"] <= high_water_mark
            found.append((part if is_asked.all() else part.select(is_asked)).as_facts(variants, columns))
        return concatenate(found)


class UnstoredFacts:
    """The facts that a process has made and not stored yet, at most ``limit``."""

    def __init__(self, database: Database, limit: int) -> None:
        self._database = database
        self._limit = limit
        self._series: dict[int, UnstoredSeries] = {}
        self._turn = asyncio.Lock()  # of those who store, so that they take one connection

    def of(self, series_id: int) -> UnstoredSeries | None:
        """Return the facts of a series that are not stored yet; None where there are none."""
        return self._series.get(series_id)

    def of_all(self, series_ids: Iterable[int]) -> dict[int, UnstoredSeries]:
        """Return the facts that are not stored yet, by series."""
        return {one: self._series[one] for one in series_ids if one in self._series}

    def add(self, project_id: int, series: StoredSeries, made: MadeFacts) -> bool:
        """Keep the facts of the next events of a series, if there is room; call it under the lock of the series."""
        if sum(map(len, self._series.values())) + len(made) > self._limit:
            return False
        first = UnstoredSeries(project_id, series.id, series.definition.digest, made.after)
        self._series.setdefault(series.id, first).parts.append(made)
        return True

    def drop(self, series_ids: Iterable[int]) -> None:
        """Forget facts that are not to be stored."""
        for series_id in series_ids:
            self._series.pop(series_id, None)

    def store_soon(self, made: Iterable[UnstoredSeries]) -> None:
        """Store facts while the caller goes on; nothing may be added to them any more.

        They are named themselves: under the number of their series there may be others by now, which are being made.
        """
        for series in made:
            series.storing = series.storing or asyncio.create_task(self._store(series))

    async def store(self, series_ids: Iterable[int]) -> None:
        """Store the facts of some series, and return when that is done.

        Raises
        ------
        SQLAlchemyError, OSError, asyncpg.PostgresError, sqlite3.Error
            When the database did not take them.
        """
        found = list(self.of_all(series_ids).values())
        self.store_soon(found)
        if storing := [series.storing for series in found if series.storing is not None]:
            await asyncio.wait(storing)  # unlike gather, it leaves them going when it is cancelled
        for series in found:
            if series.failure is not None:
                raise series.failure

    async def _store(self, series: UnstoredSeries) -> None:
        try:
            for part in series.parts:
                async with self._turn:
                    await store_made(self._database, series.project_id, series.series_id, series.digest, part)
        except SeriesGone:  # removed as unused
            pass
        except Exception as error:  # for those who wait
            logger.warning(
                "project %d: facts could not be stored, and are made again when they are asked for: %s",
                series.project_id,
                describe(error),
            )
            series.failure = error
        finally:
            del self._series[series.series_id]

    async def close(self) -> None:
        """Leave the rest, at the end of the process."""
        storing = [series.storing for series in self._series.values() if series.storing is not None]
        for task in storing:
            task.cancel()
        if storing:
            await asyncio.wait(storing)
