"""Facts of series, read as columns."""

import asyncio
import functools
from collections.abc import AsyncIterator, Mapping, Sequence, Set
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import BigInteger, ColumnElement, Select, bindparam, case, func, select, type_coerce
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from app.db.bulk import Columns, chunks, read_arrays
from app.db.compiled_queries import fetch_within, is_among
from app.db.models import Fact, SeriesVariant
from app.metrics.facts.columns import (
    EVERYONE,
    NO_VARIANT,
    WITHOUT_VALUES,
    ActorRange,
    Column,
    FactColumns,
    concatenate,
    placeholders,
)
from app.metrics.facts.matching import NO_NUMBER

_SOURCES: Mapping[Column, InstrumentedAttribute[Any]] = {
    "actor": Fact.person_id,
    "sequence": Fact.sequence,
    "value": Fact.value,
}


class Code(NamedTuple):
    """The code of a variant in the facts of a series, and the variant's number in a query."""

    series_id: int
    code: int
    number: int


# Any number of facts is read in ranges of this column, by which the database finds those of a series.
_RANGED_BY: Mapping[str, InstrumentedAttribute[int]] = {"sqlite": Fact.sequence, "postgresql": Fact.sequence}
_FIRST_WIDTH, _GREATEST_WIDTH = 2**17, 2**21
_FACTS_OF_A_RANGE = 2**17
_GROWTH = 16  # of a width from one range to the next, at most

_CHOICES: Mapping[str, Sequence[ColumnElement[bool]]] = {
    "since": (Fact.time >= bindparam("since"), Fact.sequence <= bindparam("mark")),
    "of a range": (
        Fact.time >= bindparam("since"),
        Fact.sequence <= bindparam("mark"),
        Fact.person_id >= bindparam("first"),
        Fact.person_id < bindparam("end"),
    ),
    "after": (Fact.sequence > bindparam("watermark"), Fact.sequence <= bindparam("mark")),
    "of persons": (Fact.time >= bindparam("since"), Fact.sequence <= bindparam("mark")),
    "between": (Fact.time >= bindparam("since"), Fact.time < bindparam("before"), Fact.sequence <= bindparam("mark")),
    "of events": (),
}
_RANGED = ("since", "of a range", "between")
# What some choices list: the column, and the name of the list.
_LISTED: Mapping[str, tuple[InstrumentedAttribute[int], str]] = {
    "of persons": (Fact.person_id, "persons"),
    "of events": (Fact.sequence, "sequences"),
}


@functools.lru_cache(maxsize=256)
def _facts_query(
    choice: str, columns: Set[Column], codes: Sequence[Code], other: int, dialect_name: str, *, are_several: bool
) -> Select[*tuple[Any, ...]]:
    """Return the statement that reads facts. Time and variant share a column, because each column costs time.

    A flag has at most a hundred variants; a time in the year 2200 leaves room for a thousand.
    """
    if are_several:
        known = [((Fact.series_id == one.series_id) & (Fact.variant == one.code), one.number) for one in codes]
        number = case((Fact.variant == 0, NO_VARIANT), *known, else_=other)
    else:  # databases compare one number faster
        number = case({0: NO_VARIANT} | {one.code: one.number for one in codes}, value=Fact.variant, else_=other)
    moment = type_coerce(Fact.time * 2 ** other.bit_length() + number, BigInteger).label("moment")
    query = select(*(source for name, source in _SOURCES.items() if name in columns), moment)
    if are_several:
        query = query.add_columns(Fact.series_id)
    query = query.where(is_among(Fact.series_id, "series", dialect_name), *_CHOICES[choice])
    if choice in _RANGED:
        ranged_by = _RANGED_BY[dialect_name]
        query = query.where(ranged_by >= bindparam("range_first"), ranged_by < bindparam("range_end"))
    if choice in _LISTED:
        query = query.where(is_among(*_LISTED[choice], dialect_name))
    if choice == "of persons":
        # Without statistics of the table, SQLite would read all facts of the series by the primary key.
        query = query.with_hint(Fact, "INDEXED BY ix_fact_person_id_series_id", "sqlite")
    return query.limit(bindparam("limit")) if choice == "after" else query


@functools.cache
def _bounds_query(dialect_name: str) -> Select[*tuple[Any, ...]]:
    """Return the query of the lowest number from ``first`` on, and the highest, by which the facts of a series go."""
    column = _RANGED_BY[dialect_name]
    further = (Fact.series_id == bindparam("one"), column >= bindparam("first"))
    lowest, highest = (select(bound(column)).where(*further).scalar_subquery() for bound in (func.min, func.max))
    return select(lowest, highest)


class SeriesFacts:
    """The facts of series as columns. ``actor`` is the person that an event was stored for, before any later merge.

    Every method returns one part for each of the series, in their order; a series may occur several times.

    Parameters
    ----------
    variants : sequence of str
        Numbered by their position, from 1; 0 is no variant, ``len(variants) + 1`` any other text.
    columns : set of {"actor", "sequence", "value"}
        What is read besides times and variants. Other columns hold placeholders, which cost neither time nor memory.
    """

    def __init__(
        self,
        session: AsyncSession,
        series_ids: Sequence[int],
        variants: Sequence[str],
        columns: Set[Column] = WITHOUT_VALUES,
    ) -> None:
        self._session = session
        self._series_ids = series_ids
        self._columns = frozenset(columns)
        self._dialect_name = session.get_bind().dialect.name
        self._variants = variants
        self._other = len(variants) + 1
        self._codes: tuple[Code, ...] | None = None

    async def ranges(self, high_water_mark: int, rows: int) -> Sequence[ActorRange]:  # noqa: ARG002  # of the protocol
        """Return one range: the table is not in the order of actors, and each range would read most of it."""
        return [EVERYONE]

    async def since(self, moment: int, high_water_mark: int, actors: ActorRange = EVERYONE) -> list[FactColumns]:
        """Return the facts of some actors up to the high-water mark that happened at or after a moment."""
        if actors == EVERYONE:
            return await self._read_in_ranges("since", {"since": moment, "mark": high_water_mark})
        bound = {"since": moment, "mark": high_water_mark, "first": actors[0], "end": actors[1]}
        return await self._read_in_ranges("of a range", bound)

    async def between(self, moment: int, end: int, high_water_mark: int) -> list[FactColumns]:
        """Return those of the facts that ``since`` returns that happened before another moment."""
        return await self._read_in_ranges("between", {"since": moment, "before": end, "mark": high_water_mark})

    async def after(self, watermark: int, high_water_mark: int, limit: int) -> list[FactColumns]:
        """Return the facts of events after the watermark, up to the high-water mark: at most `limit` in all series."""
        return await self._read("after", {"watermark": watermark, "mark": high_water_mark, "limit": limit})

    async def of_persons(self, persons: Sequence[int], since: int, high_water_mark: int) -> list[FactColumns]:
        """Return the facts that ``since`` returns, of some persons only."""
        parts = [
            await self._read("of persons", {"since": since, "mark": high_water_mark, "persons": some})
            for some in chunks(persons)
        ]
        return [concatenate(one) for one in zip(*parts, strict=True)] or self._nothing()

    async def of_events(self, sequences: Sequence[int]) -> list[FactColumns]:
        """Return the facts of events by sequence number."""
        parts = [await self._read("of events", {"sequences": some}) for some in chunks(sequences)]
        return [concatenate(one) for one in zip(*parts, strict=True)] or self._nothing()

    def _nothing(self) -> list[FactColumns]:
        return [concatenate([]) for _ in self._series_ids]

    async def _read_in_ranges(self, choice: str, numbers: Mapping[str, int]) -> list[FactColumns]:
        """Read any number of facts of each series, a range at a time."""
        found = {}
        for series_id in dict.fromkeys(self._series_ids):
            parts = [part async for part in self._ranges_of(series_id, choice, numbers)]
            together = functools.partial(_concatenated, parts)
            found[series_id] = self._as_facts(await asyncio.to_thread(together)) if parts else concatenate([])
        return [found[series_id] for series_id in self._series_ids]

    async def _ranges_of(self, series_id: int, choice: str, numbers: Mapping[str, int]) -> AsyncIterator[Columns]:
        """Yield the facts of one series, in ranges as wide as those before suggest."""
        width, first, last = _FIRST_WIDTH, *await self._bounds(series_id, EVERYONE[0])
        while first <= last:
            bounds = {"range_first": first, "range_end": first + width}
            found = await self._columns_of([series_id], choice, {**numbers, **bounds})
            yield found
            first += width
            width = int(width * min(_GROWTH, _FACTS_OF_A_RANGE / max(1, len(found["moment"])))) or 1
            width = min(width, _GREATEST_WIDTH)
            if not len(found["moment"]) and first <= last:  # there may be a long gap
                first, last = await self._bounds(series_id, first)

    async def _bounds(self, series_id: int, first: int) -> tuple[int, int]:
        """Return where the facts of a series begin, from a number on, and where they end: before, if there are none."""
        query = _bounds_query(self._dialect_name)
        [(lowest, highest)] = await fetch_within(self._session, query, {"one": series_id, "first": first})
        return (1, 0) if lowest is None else (lowest, highest)

    async def _read(self, choice: str, numbers: Mapping[str, int | Sequence[int]]) -> list[FactColumns]:
        """Read the facts of all series in one statement: a round trip costs more than the rows."""
        distinct = list(dict.fromkeys(self._series_ids))
        together = await self._columns_of(distinct, choice, numbers)
        if len(distinct) == 1:
            found = {distinct[0]: self._as_facts(together)}
        else:
            of = {one: together["series_id"] == one for one in distinct}
            found = {
                one: self._as_facts({name: values[rows] for name, values in together.items()})
                for one, rows in of.items()
            }
        return [found[series_id] for series_id in self._series_ids]

    async def _columns_of(
        self, series_ids: Sequence[int], choice: str, numbers: Mapping[str, int | Sequence[int]]
    ) -> Columns:
        if self._codes is None:
            self._codes = await find_codes(self._session, list(dict.fromkeys(self._series_ids)), self._variants)
        codes = tuple(code for code in self._codes if code.series_id in series_ids)
        query = _facts_query(
            choice, self._columns, codes, self._other, self._dialect_name, are_several=len(series_ids) > 1
        )
        return await read_arrays(self._session, query, {"series": series_ids, **numbers})

    def _as_facts(self, columns: Columns) -> FactColumns:
        moment, bits = columns["moment"].astype(np.int64, copy=False), self._other.bit_length()
        value = columns.get("value")
        nothing = placeholders(np.int64(0), len(moment))
        return FactColumns(
            actor=columns.get("person_id", nothing).astype(np.int64, copy=False),
            time=moment >> bits,
            variant=(moment & (2**bits - 1)).astype(np.int32),
            value=placeholders(np.float64(np.nan), len(moment))
            if value is None
            else np.where(value == NO_NUMBER, np.nan, value),
            sequence=columns.get("sequence", nothing).astype(np.int64, copy=False),
        )


def _concatenated(parts: Sequence[Columns]) -> Columns:
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


async def find_codes(session: AsyncSession, series_ids: Sequence[int], variants: Sequence[str]) -> tuple[Code, ...]:
    """Return the codes of variants in the facts of series; a series may have stored any number of others."""
    rows = await session.execute(
        select(SeriesVariant.series_id, SeriesVariant.code, SeriesVariant.value)
        .where(SeriesVariant.series_id.in_(series_ids), SeriesVariant.value.in_(variants))
        .order_by(SeriesVariant.series_id, SeriesVariant.code)
    )
    return tuple(Code(row.series_id, row.code, variants.index(row.value) + 1) for row in rows)
