"""Facts of series, read as columns."""

import asyncio
import functools
from collections.abc import AsyncIterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Double,
    Select,
    bindparam,
    case,
    func,
    literal_column,
    or_,
    select,
    text,
    type_coerce,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from app.db.bulk import Columns, chunks, read_columns
from app.db.compiled_queries import fetch_within, is_among
from app.db.models import Fact, Series, SeriesVariant
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
from app.metrics.facts.persons_of_series import statements_of

_SOURCES: Mapping[Column, InstrumentedAttribute[Any]] = {
    "actor": Fact.person_id,
    "sequence": Fact.sequence,
}


# SQLite reads many facts in ranges of sequence numbers, in whose order they are, because they are in memory as text.
_FIRST_WIDTH, _GREATEST_WIDTH = 2**17, 2**21
_FACTS_OF_A_RANGE = 2**17
_GROWTH = 16  # of a width from one range to the next, at most
_LISTED = 5_000  # persons in one statement


class Code(NamedTuple):
    """The code of a variant in the facts of a series, and the variant's number in a query."""

    series_id: int
    code: int
    number: int


_CHOICES: Mapping[str, Sequence[ColumnElement[bool]]] = {
    "since": (Fact.time >= bindparam("since"),),
    "of a range": (
        Fact.time >= bindparam("since"),
        Fact.person_id >= bindparam("first"),
        Fact.person_id < bindparam("end"),
    ),
    "after": (Fact.sequence > bindparam("watermark"), Fact.sequence <= bindparam("mark")),
    "of persons": (Fact.time >= bindparam("since"), Fact.sequence <= bindparam("mark")),
    "between": (Fact.time >= bindparam("since"), Fact.time < bindparam("before")),
    "of events": (Fact.sequence.in_(bindparam("sequences", expanding=True)),),
}


def value_column(dialect_name: str) -> ColumnElement[float]:
    """Return the column of values as numbers: null is ``NO_NUMBER``. What COPY reads has no bound values."""
    no_number = "'-Infinity'::float8" if dialect_name == "postgresql" else "-9e999"
    return func.coalesce(Fact.value, literal_column(no_number), type_=Double).label("value")


def _select(columns: Set[Column], dialect_name: str) -> Select[*tuple[Any, ...]]:
    named: Select[*tuple[Any, ...]] = select(*(source for name, source in _SOURCES.items() if name in columns))
    return named.add_columns(value_column(dialect_name)) if "value" in columns else named


@functools.lru_cache(maxsize=256)
def _whole_query(
    choice: str, columns: Set[Column], codes: Sequence[Code], other: int, dialect_name: str
) -> Select[*tuple[Any, ...]]:
    """Return the statement that reads many facts of one series, and not only what is new.

    Time and variant share a column, because each column costs time. A flag has at most a hundred variants; a time in
    the year 2200 leaves room for a thousand.
    """
    number = case({0: NO_VARIANT} | {one.code: one.number for one in codes}, value=Fact.variant, else_=other)
    moment = type_coerce(Fact.time * 2 ** other.bit_length() + number, BigInteger).label("moment")
    query = _select(columns, dialect_name).add_columns(moment)
    query = query.where(Fact.series_id == bindparam("series"), *_CHOICES[choice], Fact.sequence <= bindparam("mark"))
    return query.where(Fact.sequence >= bindparam("lowest")) if dialect_name == "sqlite" else query


@functools.cache
def _bounds_query() -> Select[*tuple[Any, ...]]:
    """Return the query of the first and last sequence numbers of a series in SQLite, each from an end of the index."""
    between = (Fact.sequence >= bindparam("lowest"), Fact.sequence <= bindparam("mark"))
    ends = [
        select(end(Fact.sequence)).where(Fact.series_id == bindparam("series"), *between).scalar_subquery()
        for end in (func.min, func.max)
    ]
    return select(*ends)


@functools.lru_cache(maxsize=64)
def _query(
    choice: str, columns: Set[Column], dialect_name: str, *, are_appended: bool = False
) -> Select[*tuple[Any, ...]]:
    """Return the statement that reads some facts. It is the same for all series, so that it is compiled once."""
    query = _some_facts(columns, dialect_name)
    query = query.where(Fact.series_id.in_(bindparam("series", expanding=True)), *_CHOICES[choice])
    if are_appended:  # in PostgreSQL's words for the index of these
        query = query.where(text("is_appended"))
    return query.limit(bindparam("limit")) if choice == "after" else query


@functools.lru_cache(maxsize=64)
def _query_of_persons(columns: Set[Column], groups: int, dialect_name: str) -> Select[*tuple[Any, ...]]:
    """Return the statement that reads the facts of some persons in some series, and of others in others."""
    of_groups = [
        Fact.series_id.in_(bindparam(f"series_{place}", expanding=True))
        & Fact.person_id.in_(bindparam(f"persons_{place}", expanding=True))
        for place in range(groups)
    ]
    query = _some_facts(columns, dialect_name).where(or_(*of_groups), *_CHOICES["of persons"])
    # Without statistics of the table, SQLite would read all facts of the series by the primary key.
    return query.with_hint(Fact, "INDEXED BY ix_fact_person_id_series_id", "sqlite")


def _some_facts(columns: Set[Column], dialect_name: str) -> Select[*tuple[Any, ...]]:
    return _select(columns, dialect_name).add_columns(Fact.time, Fact.variant, Fact.series_id)


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
        self._dialect = session.get_bind().dialect.name
        self._series_ids = series_ids
        self._columns = frozenset(columns)
        self._variants = variants
        self._other = len(variants) + 1
        self._found: _Storage | None = None

    async def ranges(self, high_water_mark: int, rows: int) -> Sequence[ActorRange]:  # noqa: ARG002  # of the protocol
        """Return one range: the table is not in the order of actors, and each range would read most of it."""
        return [EVERYONE]

    async def since(self, moment: int, high_water_mark: int, actors: ActorRange = EVERYONE) -> list[FactColumns]:
        """Return the facts of some actors up to the high-water mark that happened at or after a moment."""
        bound = {"since": moment, "mark": high_water_mark}
        if actors == EVERYONE:
            return await self._read_whole("since", bound)
        return await self._read_whole("of a range", {**bound, "first": actors[0], "end": actors[1]})

    async def between(self, moment: int, end: int, high_water_mark: int) -> list[FactColumns]:
        """Return those of the facts that ``since`` returns that happened before another moment."""
        return await self._read_whole("between", {"since": moment, "before": end, "mark": high_water_mark})

    async def after(self, watermark: int, high_water_mark: int, limit: int) -> list[FactColumns]:
        """Return the facts of events after the watermark, up to the high-water mark: at most `limit` in all series."""
        numbers = {"watermark": watermark, "mark": high_water_mark, "limit": limit}
        return await self._choose("after", numbers, are_appended=await self._are_appended(watermark))

    async def of_persons(
        self, persons: Mapping[int, Sequence[int]], since: int, high_water_mark: int
    ) -> list[FactColumns]:
        """Return the facts that ``since`` returns, of some persons of each series only, by its id."""
        here = {series_id: some for series_id, some in persons.items() if series_id in self._series_ids}
        parts = []
        for groups in statements_of(here, _LISTED):
            query = _query_of_persons(self._columns, len(groups), self._dialect)
            bound: dict[str, int | Sequence[int]] = {"since": since, "mark": high_water_mark}
            for place, (series, some) in enumerate(groups):
                bound |= {f"series_{place}": series, f"persons_{place}": some}
            parts.append(await self._read(query, bound))
        return [concatenate(one) for one in zip(*parts, strict=True)] or self._nothing()

    async def of_events(self, sequences: Sequence[int]) -> list[FactColumns]:
        """Return the facts of events by sequence number."""
        are_appended = bool(sequences) and await self._are_appended(min(sequences) - 1)
        parts = [
            await self._choose("of events", {"sequences": some}, are_appended=are_appended)
            for some in chunks(sequences)
        ]
        return [concatenate(one) for one in zip(*parts, strict=True)] or self._nothing()

    def _nothing(self) -> list[FactColumns]:
        return [concatenate([]) for _ in self._series_ids]

    async def _are_appended(self, after: int) -> bool:
        """Whether PostgreSQL finds the facts of all events after one by their sequence numbers."""
        return self._dialect == "postgresql" and (await self._storage()).bulk_until <= after

    async def _read_whole(self, choice: str, numbers: Mapping[str, int]) -> list[FactColumns]:
        """Read any number of facts, a series at a time."""
        found = {one: await self._read_series(one, choice, numbers) for one in dict.fromkeys(self._series_ids)}
        return [found[series_id] for series_id in self._series_ids]

    async def _read_series(self, series_id: int, choice: str, numbers: Mapping[str, int]) -> FactColumns:
        codes = tuple(one for one in (await self._storage()).codes if one.series_id == series_id)
        query = _whole_query(choice, self._columns, codes, self._other, self._dialect)
        if self._dialect == "postgresql":
            parts = [await read_columns(self._session, query, {"series": series_id, **numbers})]
        else:
            parts = [part async for part in self._ranges_of(series_id, query, numbers)]
        return await asyncio.to_thread(lambda: self._as_facts(series_id, _concatenated(parts), codes))

    async def _ranges_of(
        self, series_id: int, query: Select[*tuple[Any, ...]], numbers: Mapping[str, int]
    ) -> AsyncIterator[Columns]:
        """Yield the facts of one series in SQLite, in ranges as wide as those before suggest; at least one."""
        width = _FIRST_WIDTH
        first, last = await self._bounds(series_id, 0, numbers["mark"])
        while True:
            # The end takes the place of the mark: SQLite would look for one of two ends only, and that may be the mark.
            bounds = {"series": series_id, "lowest": first, "mark": min(first + width - 1, last)}
            found = await read_columns(self._session, query, {**numbers, **bounds})
            yield found
            first, count = first + width, len(found["moment"])
            width = min(int(width * min(_GROWTH, _FACTS_OF_A_RANGE / max(1, count))) or 1, _GREATEST_WIDTH)
            if not count and first <= last:  # there may be a long gap
                first, last = await self._bounds(series_id, first, last)
            if first > last:
                return

    async def _bounds(self, series_id: int, lowest: int, mark: int) -> tuple[int, int]:
        """Return the first and last sequence numbers of a series between two others; (1, 0) where it has none."""
        bound = {"series": series_id, "lowest": lowest, "mark": mark}
        [(first, last)] = await fetch_within(self._session, _bounds_query(), bound)
        return (1, 0) if first is None else (first, last)

    async def _choose(
        self, choice: str, numbers: Mapping[str, int | Sequence[int]], *, are_appended: bool
    ) -> list[FactColumns]:
        """Read some facts of all series in one statement: a round trip costs more than the rows."""
        query = _query(choice, self._columns, self._dialect, are_appended=are_appended)
        return await self._read(query, {"series": list(dict.fromkeys(self._series_ids)), **numbers})

    async def _read(
        self, query: Select[*tuple[Any, ...]], numbers: Mapping[str, int | Sequence[int]]
    ) -> list[FactColumns]:
        distinct = list(dict.fromkeys(self._series_ids))
        codes = (await self._storage()).codes
        together = await read_columns(self._session, query, numbers)
        if len(distinct) == 1:
            found = {distinct[0]: self._as_facts(distinct[0], together, codes)}
        else:
            of = {one: together["series_id"] == one for one in distinct}
            found = {
                one: self._as_facts(one, {name: values[rows] for name, values in together.items()}, codes)
                for one, rows in of.items()
            }
        return [found[series_id] for series_id in self._series_ids]

    async def _storage(self) -> "_Storage":
        if self._found is None:
            self._found = await _find_storage(self._session, list(dict.fromkeys(self._series_ids)), self._variants)
        return self._found

    def _as_facts(self, series_id: int, columns: Columns, codes: Sequence[Code]) -> FactColumns:
        if "moment" in columns:
            moment, bits = columns["moment"].astype(np.int64, copy=False), self._other.bit_length()
            time = moment >> bits
            number = (moment & (2**bits - 1)).astype(np.int32)
        else:
            time = columns["time"].astype(np.int64, copy=False)
            number = self._numbers_of(series_id, columns["variant"].astype(np.int32, copy=False), codes)
        nothing, value = placeholders(np.int64(0), len(time)), columns.get("value")
        return FactColumns(
            actor=columns.get("person_id", nothing).astype(np.int64, copy=False),
            time=time,
            variant=number,
            value=placeholders(np.float64(np.nan), len(time))
            if value is None
            else np.where(value == NO_NUMBER, np.nan, value),
            sequence=columns.get("sequence", nothing).astype(np.int64, copy=False),
        )

    def _numbers_of(self, series_id: int, stored: NDArray[np.int32], codes: Sequence[Code]) -> NDArray[np.int32]:
        """Return the number of each variant that facts of a series have by its code."""
        known = {one.code: one.number for one in codes if one.series_id == series_id}
        numbers = np.full(max(known, default=0) + 2, self._other, dtype=np.int32)  # the last one of all later codes
        numbers[0] = NO_VARIANT
        numbers[list(known)] = list(known.values())
        return numbers[np.minimum(stored, len(numbers) - 1)]


def _concatenated(parts: Sequence[Columns]) -> Columns:
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@dataclass(frozen=True)
class _Storage:
    """How the facts of series are stored.

    Attributes
    ----------
    codes : sequence of Code
        Of the variants of a query; a series may have stored any number of others.
    bulk_until : int
        The last event of which one of the series has facts that were stored in bulk.
    """

    codes: tuple[Code, ...]
    bulk_until: int


async def find_codes(session: AsyncSession, series_ids: Sequence[int], variants: Sequence[str]) -> tuple[Code, ...]:
    """Return the codes of variants in the facts of series."""
    return (await _find_storage(session, series_ids, variants)).codes


async def _find_storage(session: AsyncSession, series_ids: Sequence[int], variants: Sequence[str]) -> _Storage:
    query = _storage_query(session.get_bind().dialect.name)
    rows = await fetch_within(session, query, {"series": list(series_ids), "values": list(variants)})
    return _Storage(
        tuple(
            Code(series_id, code, variants.index(value) + 1) for series_id, _, code, value in rows if code is not None
        ),
        max((bulk_until for _, bulk_until, _, _ in rows), default=0),
    )


@functools.cache
def _storage_query(dialect_name: str) -> Select[int, int, int | None, str | None]:
    """Return a row for each code of a series, or one without a code."""
    is_wanted = (SeriesVariant.series_id == Series.id) & is_among(SeriesVariant.value, "values", dialect_name)
    return (
        select(Series.id, Series.bulk_until, SeriesVariant.code, SeriesVariant.value)
        .outerjoin(SeriesVariant, is_wanted)
        .where(is_among(Series.id, "series", dialect_name))
        .order_by(Series.id, SeriesVariant.code)
    )
