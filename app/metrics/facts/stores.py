"""Where facts are kept: the two protocols that the pipeline knows, and the choice between their implementations."""

from collections.abc import Mapping, Sequence, Set
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.database import Database
from app.metrics.facts.clickhouse_facts import ClickHouseFacts
from app.metrics.facts.columns import EVERYONE, WITHOUT_VALUES, ActorRange, Column, FactColumns
from app.metrics.facts.database_facts import DatabaseFacts
from app.metrics.facts.matching import Match, SeriesMatcher


class FactReader(Protocol):
    """The facts of series as columns, one part for each of the series.

    ``actor`` is the person that an event was stored for, before any later merge.
    """

    async def ranges(self, high_water_mark: int, rows: int) -> Sequence[ActorRange]:
        """Return ranges of actors that have about that many facts each, in order; one range where all are read at once.

        The first begins with the lowest actor that there can be, and the last ends behind the highest.
        """
        ...

    async def since(self, moment: int, high_water_mark: int, actors: ActorRange = EVERYONE) -> list[FactColumns]:
        """Return the facts of some actors up to the high-water mark that happened at or after a moment."""
        ...

    async def between(self, moment: int, end: int, high_water_mark: int) -> list[FactColumns]:
        """Return those of the facts that ``since`` returns that happened before another moment."""
        ...

    async def after(self, watermark: int, high_water_mark: int, limit: int) -> list[FactColumns]:
        """Return the facts of events after the watermark, up to the high-water mark: at most `limit` in all series."""
        ...

    async def of_persons(
        self, persons: Mapping[int, Sequence[int]], since: int, high_water_mark: int
    ) -> list[FactColumns]:
        """Return the facts that ``since`` returns, of some persons of each series only, by its id."""
        ...

    async def of_events(self, sequences: Sequence[int]) -> list[FactColumns]:
        """Return the facts of events by sequence number."""
        ...


class FactStore(Protocol):
    """Keeps the facts of series. Which series there are, and how far their facts reach, is in the database."""

    @property
    def is_beside_events(self) -> bool:
        """Whether facts are in the database of the events, which can make facts itself."""
        ...

    def read(
        self,
        session: AsyncSession,
        series_ids: Sequence[int],
        variants: Sequence[str],
        columns: Set[Column] = WITHOUT_VALUES,
    ) -> FactReader:
        """Return the reader of some series; a series may occur several times.

        Parameters
        ----------
        session
            In the snapshot in which the series were found. Facts up to a watermark never change, so that those of
            another store belong to every later snapshot as well.
        variants : sequence of str
            Numbered by their position, from 1; 0 is no variant, ``len(variants) + 1`` any other text.
        columns : set of {"actor", "sequence", "value"}
            What is read besides times and variants. Other columns hold placeholders, which cost neither time nor
            memory.
        """
        ...

    async def store(
        self,
        project_id: int,
        matchers: Mapping[int, SeriesMatcher],
        matches: Mapping[int, list[Match]],
        reached: int,
    ) -> None:
        """Store the matches of series after their watermarks, and move these to the event that was reached.

        Raises
        ------
        SeriesGone
            When one of the series was removed.
        """
        ...

    async def remove_some(self, project_id: int, series_id: int, limit: int) -> bool:
        """Remove at most `limit` facts of a retired series, then the series itself; return whether it is gone."""
        ...

    async def settle(self, project_id: int) -> None:
        """Look after what interrupted writers have left, once in a while."""
        ...

    async def series_with(self, session: AsyncSession, project_id: int, person_ids: Sequence[int]) -> set[int]:
        """Return the series that have a fact of one of the persons."""
        ...


def fact_store(database: Database) -> FactStore:
    """Return where the facts of a deployment are."""
    clickhouse = database.clickhouse
    return DatabaseFacts(database) if clickhouse is None else ClickHouseFacts(database, clickhouse)
