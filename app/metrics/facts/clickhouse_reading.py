"""Facts of series in ClickHouse, read as columns."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from app.db.bulk import chunks
from app.db.clickhouse import ClickHouse
from app.metrics.facts.columns import EVERYONE, ActorRange, Column, FactColumns, concatenate
from app.metrics.facts.matching import NO_NUMBER
from app.metrics.facts.persons_of_series import Group, statements_of
from app.metrics.facts.series_facts import Code

_SOURCES: Final[Mapping[Column, str]] = {"actor": "person", "sequence": "sequence", "value": "value"}

_LISTED: Final = 50_000  # numbers in one statement


class ClickHouseSeries:
    """The facts of some series; with ``may_repeat``, equal facts are joined to one as they are read.

    That costs several times the reading, and is needed only where an insert was interrupted.
    """

    def __init__(
        self,
        clickhouse: ClickHouse,
        series_ids: Sequence[int],
        codes: Sequence[Code],
        other: int,
        columns: Set[Column],
        *,
        may_repeat: bool,
    ) -> None:
        self._clickhouse = clickhouse
        self._series_ids = series_ids
        self._distinct = list(dict.fromkeys(series_ids))
        self._numbers = {one: _numbers(codes, one, other) for one in self._distinct}
        self._other = other
        self._columns = [name for name in _SOURCES if name in columns]
        self._may_repeat = may_repeat

    async def ranges(self, high_water_mark: int, rows: int) -> Sequence[ActorRange]:
        inside = f"series IN ({_list(self._distinct)}) AND sequence <= {high_water_mark:d}"
        table = self._clickhouse.table("fact")
        counted = await self._clickhouse.columns(f"SELECT count() AS facts FROM {table} WHERE {inside}", ["facts"])  # noqa: S608  # our own names, and numbers
        count = -(-int(counted["facts"][0]) // rows)
        if count <= 1:
            return [EVERYONE]
        levels = ", ".join(f"{place / count:.6f}" for place in range(1, count))
        bounds = await self._clickhouse.columns(
            f"SELECT arrayJoin(quantiles({levels})(person)) AS bound FROM {table} WHERE {inside}",  # noqa: S608  # our own names, and numbers
            ["bound"],
        )
        return list(pairwise([EVERYONE[0], *np.unique(bounds["bound"].astype(np.int64)).tolist(), EVERYONE[1]]))

    async def since(self, moment: int, high_water_mark: int, actors: ActorRange = EVERYONE) -> list[FactColumns]:
        inside = "" if actors == EVERYONE else f" AND person >= {actors[0]:d} AND person < {actors[1]:d}"
        return await self._read(f"time >= {moment:d} AND sequence <= {high_water_mark:d}{inside}")

    async def between(self, moment: int, end: int, high_water_mark: int) -> list[FactColumns]:
        return await self._read(f"time >= {moment:d} AND time < {end:d} AND sequence <= {high_water_mark:d}")

    async def after(self, watermark: int, high_water_mark: int, limit: int) -> list[FactColumns]:
        return await self._read(f"sequence > {watermark:d} AND sequence <= {high_water_mark:d} LIMIT {limit:d}")

    async def of_persons(
        self, persons: Mapping[int, Sequence[int]], since: int, high_water_mark: int
    ) -> list[FactColumns]:
        here = {series_id: some for series_id, some in persons.items() if series_id in self._series_ids}
        inside = f"time >= {since:d} AND sequence <= {high_water_mark:d}"
        return await self._read_in_pieces(f"({_of(groups)}) AND {inside}" for groups in statements_of(here, _LISTED))

    async def of_events(self, sequences: Sequence[int]) -> list[FactColumns]:
        return await self._read_in_pieces(f"sequence IN ({_list(some)})" for some in chunks(sequences, _LISTED))

    async def _read_in_pieces(self, conditions: Iterable[str]) -> list[FactColumns]:
        parts = [await self._read(condition) for condition in conditions]
        nothing = [concatenate([]) for _ in self._series_ids]
        return [concatenate(one) for one in zip(*parts, strict=True)] or nothing

    async def _read(self, condition: str) -> list[FactColumns]:
        names = ["time", "variant", *(_SOURCES[column] for column in self._columns)]
        if len(self._distinct) > 1:
            names.append("series")
        table = self._clickhouse.table("fact") + (" FINAL" if self._may_repeat else "")
        inside = _list(self._distinct)
        statement = f"SELECT {', '.join(names)} FROM {table} WHERE series IN ({inside}) AND {condition}"  # noqa: S608  # our own names, and numbers
        return await asyncio.to_thread(self._by_series, await self._clickhouse.columns(statement, names))

    def _by_series(self, together: Mapping[str, NDArray[Any]]) -> list[FactColumns]:
        if len(self._distinct) == 1:
            found = {self._distinct[0]: self._as_facts(self._distinct[0], together)}
        else:
            rows = {one: together["series"] == one for one in self._distinct}
            found = {
                one: self._as_facts(one, {name: values[rows[one]] for name, values in together.items()})
                for one in self._distinct
            }
        return [found[series_id] for series_id in self._series_ids]

    def _as_facts(self, series_id: int, columns: Mapping[str, NDArray[Any]]) -> FactColumns:
        time = columns["time"].astype(np.int64, copy=False)
        nothing = np.broadcast_to(np.int64(0), time.shape)
        value = columns.get("value", np.broadcast_to(np.nan, time.shape))
        numbers = self._numbers[series_id]
        return FactColumns(
            actor=columns.get("person", nothing).astype(np.int64, copy=False),
            time=time,
            variant=numbers[np.minimum(columns["variant"].astype(np.int64), len(numbers) - 1)],
            value=np.where(value == NO_NUMBER, np.nan, value) if "value" in columns else value,
            sequence=columns.get("sequence", nothing).astype(np.int64, copy=False),
        )


def _of(groups: Sequence[Group]) -> str:
    """Return the condition that facts are of one of the groups."""
    return " OR ".join(f"(series IN ({_list(series)}) AND person IN ({_list(some)}))" for series, some in groups)


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(f"{one:d}" for one in numbers)


def _numbers(codes: Sequence[Code], series_id: int, other: int) -> NDArray[np.int32]:
    """Return the number in the query of each code of a series; the last one stands for all higher codes."""
    known = {one.code: one.number for one in codes if one.series_id == series_id}
    numbers = np.full(max(known, default=0) + 2, other, dtype=np.int32)
    numbers[0] = 0
    for code, number in known.items():
        numbers[code] = number
    return numbers
