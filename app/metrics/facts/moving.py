"""Moves facts between the database and ClickHouse, a series at a time, while both are served.

A series is read from where it was until all of its facts are copied: the last ones under the lock of its writers. What
was interrupted begins again with the series that it was about.
"""

import asyncio
from collections.abc import Callable
from typing import Final
from uuid import uuid4

from app.db.clickhouse import ClickHouse, ClickHouseUnavailable
from app.db.database import Database
from app.metrics.facts.clickhouse_records import columns_to_records
from app.metrics.facts.repository import BY_PERSON, FACT_COLUMNS, FactRepository
from app.metrics.facts.stored_series import SeriesGone, SeriesQueries

_ROWS: Final = 200_000
_REMOVED_AT_A_TIME: Final = 30_000
_BEGINNING: Final = (-1, -1)  # before each person and event
_COLUMNS: Final = [name.removesuffix("_id") for name in FACT_COLUMNS[1:]]  # those after the series


class FactMove:
    """Moves the facts of one project."""

    def __init__(
        self, database: Database, clickhouse: ClickHouse, project_id: int, report: Callable[[int], None]
    ) -> None:
        self._database = database
        self._clickhouse = clickhouse
        self._project_id = project_id
        self._report = report  # gets the number of facts that were copied since the last call

    async def to_clickhouse(self) -> int:
        """Move all series to ClickHouse; return their number."""
        async with self._database.read() as session:
            series = await FactRepository(session, self._project_id).series_in(clickhouse=False)
        for series_id, digest in series.items():
            try:
                await self._move_in(series_id, digest)
            except SeriesGone:  # removed as unused meanwhile
                await self._clickhouse.remove("fact", f"series = {series_id:d}")
        async with self._database.read() as session:
            moved = await FactRepository(session, self._project_id).series_in(clickhouse=True)
        for series_id in moved:  # also those that were moved by a run that was interrupted then
            await self._empty(series_id)
        return len(series)

    async def from_clickhouse(self) -> int:
        """Move all series to the database; return their number."""
        async with self._database.read() as session:
            series = await FactRepository(session, self._project_id).series_in(clickhouse=True)
        for series_id, digest in series.items():
            await self._empty(series_id)  # what an interrupted run has left
            try:
                await self._move_out(series_id, digest)
            except SeriesGone:
                await self._empty(series_id)
            await self._clickhouse.remove("fact", f"series = {series_id:d}")
        return len(series)

    async def _move_in(self, series_id: int, digest: str) -> None:
        if await self._count(series_id):
            await self._clickhouse.remove("fact", f"series = {series_id:d}")
        watermark = (await SeriesQueries(self._database, self._project_id).watermarks([series_id])).get(series_id, 0)
        reached: tuple[int, int] | None = _BEGINNING
        while reached is not None:
            async with self._database.read() as session:
                facts = FactRepository(session, self._project_id)
                reached = await self._copy_in(facts, series_id, 0, watermark, reached)
        async with self._database.write() as session:
            facts = FactRepository(session, self._project_id)
            until = (await facts.lock({series_id: digest}))[series_id]
            reached = _BEGINNING
            while reached is not None:
                reached = await self._copy_in(facts, series_id, watermark, until, reached)
            if await self._count(series_id) != await facts.count(series_id):
                raise ClickHouseUnavailable(f"not all facts of series {series_id} can be read back: try again")
            await facts.move(series_id, to_clickhouse=True)

    async def _copy_in(
        self, facts: FactRepository, series_id: int, after: int, until: int, beyond: tuple[int, int]
    ) -> tuple[int, int] | None:
        """Copy the next facts of events in a range; return the person and event of the last one, None at the end."""
        page = await facts.page(series_id, after, until, beyond, _ROWS)
        rows = columns_to_records(self._project_id, series_id, page)
        if len(rows):
            await self._clickhouse.insert("fact", rows, uuid4().hex)
            self._report(len(rows))
        return None if len(rows) < _ROWS else (int(rows["person"][-1]), int(rows["sequence"][-1]))

    async def _move_out(self, series_id: int, digest: str) -> None:
        reached, is_all = 0, False
        watermark = (await SeriesQueries(self._database, self._project_id).watermarks([series_id])).get(series_id, 0)
        while not is_all:
            async with self._database.write() as session:
                facts = FactRepository(session, self._project_id)
                await facts.lock({series_id: digest}, in_clickhouse=True)  # unless another run has moved it
                reached, is_all = await self._copy_out(facts, series_id, reached, watermark)
        async with self._database.write() as session:
            facts = FactRepository(session, self._project_id)
            watermark = (await facts.lock({series_id: digest}, in_clickhouse=True))[series_id]
            is_all = False
            while not is_all:
                reached, is_all = await self._copy_out(facts, series_id, reached, watermark)
            # No key refuses facts that two runs have copied at once.
            expected = await self._clickhouse.execute(self._select("count()", series_id, 0, watermark))
            if int(str(expected)) != await facts.count(series_id):
                raise ClickHouseUnavailable(f"another run copies series {series_id} too: try again when it has ended")
            await facts.move(series_id, to_clickhouse=False)

    async def _copy_out(self, facts: FactRepository, series_id: int, after: int, watermark: int) -> tuple[int, bool]:
        """Store the next facts; what is beyond the watermark is no fact yet."""
        facts_after = self._select(", ".join(_COLUMNS), series_id, after, watermark)
        statement = f"{facts_after} ORDER BY sequence LIMIT {_ROWS:d}"
        found = await self._clickhouse.columns(statement, _COLUMNS)
        values = [found[name].tolist() for name in _COLUMNS]
        rows = [(series_id, *row) for row in zip(*values, strict=True)]
        await facts.insert(
            await asyncio.to_thread(sorted, rows, key=BY_PERSON),
            await facts.choose_bulk({series_id: len(rows)}, watermark),
        )
        self._report(len(rows))
        return (values[0][-1] if rows else after), len(rows) < _ROWS

    def _select(self, columns: str, series_id: int, after: int, until: int) -> str:
        """Return the statement that reads the facts of events in a range from ClickHouse, each once."""
        inside = f"series = {series_id:d} AND sequence > {after:d} AND sequence <= {until:d}"
        return f"SELECT {columns} FROM {self._clickhouse.table('fact')} FINAL WHERE {inside}"  # noqa: S608  # our own names, and numbers

    async def _empty(self, series_id: int) -> None:
        """Remove the facts in the database of a series, unless that is where they are."""
        is_empty = False
        while not is_empty:
            async with self._database.write(durable=False) as session:
                facts = FactRepository(session, self._project_id)
                if await facts.lock_one(series_id) == "database":  # another run has moved it
                    return
                is_empty = await facts.remove_facts(series_id, _REMOVED_AT_A_TIME)

    async def _count(self, series_id: int) -> int:
        statement = f"SELECT count() FROM {self._clickhouse.table('fact')} WHERE series = {series_id:d}"  # noqa: S608  # a number
        counted = await self._clickhouse.execute(statement)
        return int(str(counted))
