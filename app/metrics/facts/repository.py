"""Series and their facts in the database."""

import datetime as dt
import functools
import json
import operator
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from typing import Any, Literal, cast

import numpy as np
from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    CursorResult,
    Integer,
    Select,
    String,
    Update,
    bindparam,
    delete,
    exists,
    func,
    insert,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.ext.asyncio import AsyncSession

from app.common.threads import in_thread
from app.common.timestamps import to_microseconds
from app.db.bulk import Columns, Row, chunks, insert_columns, insert_rows, read_columns
from app.db.compiled_queries import execute_within, fetch_within, is_among
from app.db.models import Fact, Project, Series, SeriesVariant, utc_now
from app.db.upserts import insert_if_absent
from app.metrics.facts.event_sets import names_actors
from app.metrics.facts.made_facts import MadeFacts
from app.metrics.facts.matching import Match
from app.metrics.facts.series import SeriesDefinition
from app.metrics.facts.series_facts import value_column
from app.metrics.facts.stored_series import SeriesGone

_RETIRED = "retired "  # prefix of the digest of a retired series, until its facts are removed
FACT_COLUMNS = ("series_id", "sequence", "person_id", "time", "value", "variant")
_ROWS_AT_A_TIME = 10_000  # PostgreSQL's driver encodes them in about 20 ms, without a pause
# The facts of so many events are stored in bulk, whatever comes before. No index needs to find them: a count adds fewer
# new facts than these (``MAX_DELTA``), and of more it counts all facts again.
BULK = 20_000
# Facts of fewer are, too, where they follow others in bulk, as in a new series, and the events before are at most so
# many times as many: a count then reads all facts of the series to find them, each at a tenth of what making one takes.
BULK_AFTER_BULK = 2_000
_TIMES_AS_MANY = 10
# Matches that are gone through in less than a millisecond.
FEW_MATCHES = 2_000
# Any of them, in the order of the index, so that those that were removed before are passed over quickly.
_REMOVAL = text(
    "DELETE FROM series_fact WHERE ctid = ANY (ARRAY("
    "SELECT ctid FROM series_fact WHERE series_id = :series ORDER BY person_id LIMIT :limit))"
)

_PAGE = (
    select(Fact.sequence, Fact.person_id, Fact.time, value_column("postgresql"), Fact.variant)
    .where(
        Fact.series_id == bindparam("series"),
        Fact.sequence > bindparam("after"),
        Fact.sequence <= bindparam("until"),
        tuple_(Fact.person_id, Fact.sequence) > tuple_(bindparam("person"), bindparam("sequence")),
    )
    .order_by(Fact.person_id, Fact.sequence)
    .limit(bindparam("limit"))
)
BY_PERSON = operator.itemgetter(FACT_COLUMNS.index("person_id"))


@functools.cache
def _locked_query(dialect_name: str) -> Select[int, str, int]:
    """Return the query of the series of a project that are wanted and have their facts in one place, with a lock."""
    is_wanted = is_among(Series.id, "wanted", dialect_name)
    return (
        select(Series.id, Series.digest, Series.watermark)
        .where(
            Series.project_id == bindparam("project_id", type_=Integer),
            is_wanted,
            Series.is_in_clickhouse == bindparam("in_clickhouse", type_=Boolean),
        )
        .order_by(Series.id)
        .with_for_update()
    )


@functools.cache
def _watermark_update(dialect_name: str) -> Update:
    is_wanted = is_among(Series.id, "wanted", dialect_name)
    return update(Series).where(is_wanted).values(watermark=bindparam("reached", type_=BigInteger))


@functools.cache
def _variants_query(dialect_name: str) -> Select[int, str, int]:
    """Return the query of the codes that some variants have in some series."""
    return select(SeriesVariant.series_id, SeriesVariant.value, SeriesVariant.code).where(
        is_among(SeriesVariant.series_id, "series", dialect_name), is_among(SeriesVariant.value, "values", dialect_name)
    )


class FactRepository:
    """Bound to one project when built, so no query can forget the tenant."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id
        self._dialect = session.get_bind().dialect.name

    async def create(self, definitions: Sequence[SeriesDefinition], *, in_clickhouse: bool = False) -> None:
        """Create series, whose facts will be here or in ClickHouse; existing ones stay unchanged."""
        # Locked, so that a removal of events comes either before the series is created or after it has read them.
        events_since = await self._session.scalar(
            select(Project.events_since).where(Project.id == self._project_id).with_for_update(read=True)
        )
        rows = [
            {
                "project_id": self._project_id,
                "digest": definition.digest,
                "definition": definition.canonical(),
                "events_since": events_since,
                "is_in_clickhouse": in_clickhouse,
            }
            for definition in definitions
        ]
        await insert_if_absent(self._session, Series, rows)

    async def in_clickhouse(self, series_ids: Iterable[int]) -> Mapping[int, bool]:
        """Return which of some series have their facts in ClickHouse, and whether some may be there twice."""
        rows = await self._session.execute(
            select(Series.id, Series.may_repeat_since).where(Series.id.in_(list(series_ids)), Series.is_in_clickhouse)
        )
        return {row.id: row.may_repeat_since > 0 for row in rows}

    async def lock(self, digests: Mapping[int, str], *, in_clickhouse: bool = False) -> Mapping[int, int]:
        """Return the watermarks, locked until the transaction ends.

        Raises
        ------
        SeriesGone
            When one was removed, even if another series has its id by now, or moved to or from ClickHouse.
        """
        wanted = {"project_id": self._project_id, "wanted": list(digests), "in_clickhouse": in_clickhouse}
        # Executed by SQLAlchemy, which begins the transaction.
        rows = await self._session.execute(_locked_query(self._dialect), wanted)
        watermarks = {row.id: row.watermark for row in rows if row.digest == digests[row.id]}
        if gone := digests.keys() - watermarks.keys():
            raise SeriesGone(gone)
        return watermarks

    async def note_removal(self, events_since: int) -> None:
        """Record that events before a moment are about to be removed: series created from now on will lack them."""
        await self._session.execute(
            update(Project)
            .where(Project.id == self._project_id, Project.events_since < events_since)
            .values(events_since=events_since)
            .execution_options(synchronize_session=False)
        )

    async def note_insight(self, digests: Collection[str], now: dt.datetime) -> None:
        """Record that an insight asked for series."""
        for chunk in chunks(sorted(digests)):
            await self._session.execute(
                update(Series)
                .where(Series.project_id == self._project_id, Series.digest.in_(chunk))
                .values(asked_at=now)
                .execution_options(synchronize_session=False)
            )

    async def retire(
        self, used: Collection[str], before: dt.datetime | None = None, asked_before: dt.datetime | None = None
    ) -> None:
        """Hide the unused series, so that their facts can be removed.

        With moments, only those that were created before the first one, or that an insight asked for last before the
        second one.
        """
        query = select(Series.id, Series.digest).where(Series.project_id == self._project_id)
        if before is not None:
            query = query.where((Series.created_at < before) | (Series.asked_at < (asked_before or before)))
        rows = await self._session.execute(query)
        unused = [row.id for row in rows if row.digest not in used and not row.digest.startswith(_RETIRED)]
        await self._hide(unused)

    async def retire_breakdowns(self) -> None:
        """Hide the series that keep the values of a property, so that these can be removed."""
        await self._hide([series_id for series_id, name in await self._properties() if not names_actors(name)])

    async def broken_down(self) -> set[str]:
        """Return the properties whose values are kept by a series."""
        return {name for _, name in await self._properties() if not names_actors(name)}

    async def _properties(self) -> list[tuple[int, str]]:
        """Return the series whose actors are not persons, with the property that names them."""
        rows = await self._session.execute(
            select(Series.id, Series.definition).where(
                Series.project_id == self._project_id, Series.digest.not_like(f"{_RETIRED}%")
            )
        )
        names = [(row.id, json.loads(row.definition)["actor_property"]) for row in rows]
        return [(series_id, name) for series_id, name in names if name is not None]

    async def _hide(self, series_ids: Sequence[int]) -> None:
        for chunk in chunks(series_ids):
            await self._session.execute(
                update(Series)
                .where(Series.id.in_(chunk))
                .values(digest=_RETIRED + sql_cast(Series.id, String))
                .execution_options(synchronize_session=False)
            )

    async def retired(self) -> Sequence[int]:
        """Return the ids of the retired series."""
        found = await self._session.scalars(
            select(Series.id).where(Series.project_id == self._project_id, Series.digest.startswith(_RETIRED))
        )
        return found.all()

    async def remove_some(self, series_id: int, limit: int) -> bool:
        """Remove at most `limit` facts of a retired series, then the series itself; return whether it is gone."""
        # Locked, so that no writer that found the series earlier appends to it after the last facts were removed.
        await self.lock_one(series_id)
        are_removed = await self.remove_facts(series_id, limit)
        if are_removed:
            await self.remove_series(series_id)
        return are_removed

    async def remove_facts(self, series_id: int, limit: int) -> bool:
        """Remove at most `limit` facts of a series; return whether that was all."""
        if self._dialect == "postgresql":
            result = await self._session.execute(_REMOVAL, {"series": series_id, "limit": limit})
            return cast("CursorResult[Any]", result).rowcount < limit
        place = select(Fact.sequence).where(Fact.series_id == series_id).order_by(Fact.sequence).offset(limit).limit(1)
        until = await self._session.scalar(place)
        facts = delete(Fact).where(Fact.series_id == series_id)
        await self._session.execute(facts if until is None else facts.where(Fact.sequence < until))
        return until is None

    async def page(self, series_id: int, after: int, until: int, beyond: tuple[int, int], limit: int) -> Columns:
        """Return facts of a series, of events in a range, as columns by the names of the table.

        They are in the order of persons and sequence numbers, and the first ones beyond such a pair.
        """
        numbers = {"series": series_id, "after": after, "until": until, "limit": limit}
        return await read_columns(self._session, _PAGE, {**numbers, "person": beyond[0], "sequence": beyond[1]})

    async def count(self, series_id: int) -> int:
        return await self._session.scalar(select(func.count()).where(Fact.series_id == series_id)) or 0

    async def insert(self, rows: Sequence[Row], bulk: Set[int] = frozenset()) -> None:
        """Store rows of ``FACT_COLUMNS``, those of some series in bulk."""
        for some in chunks(rows, _ROWS_AT_A_TIME):
            marked = [(*row, None if row[0] in bulk else True) for row in some] if bulk else some
            await insert_rows(self._session, Fact, (*FACT_COLUMNS, "is_appended") if bulk else FACT_COLUMNS, marked)

    async def choose_bulk(self, counts: Mapping[int, int], until: int) -> Set[int]:
        """Return the series whose next facts, up to an event, are to be stored in bulk; call ``lock`` first.

        Parameters
        ----------
        counts
            The number of the facts, or of the events that may become facts, by series.
        """
        if self._dialect != "postgresql":
            return frozenset()
        many = [series_id for series_id, count in counts.items() if count >= BULK]
        several = [series_id for series_id, count in counts.items() if BULK_AFTER_BULK <= count < BULK]
        if not many and not several:
            return frozenset()
        are_many_more = Series.watermark <= _TIMES_AS_MANY * (until - Series.watermark)
        follows_bulk = (Series.bulk_until >= Series.watermark) & are_many_more
        chosen = await self._session.scalars(
            update(Series)
            .where(Series.id.in_(many) | (Series.id.in_(several) & follows_bulk))
            .values(bulk_until=until)
            .returning(Series.id)
            .execution_options(synchronize_session=False)
        )
        return frozenset(chosen)

    async def series_in(self, *, clickhouse: bool) -> Mapping[int, str]:
        """Return the digests of the series, by id, that have their facts in ClickHouse, or have them here."""
        rows = await self._session.execute(
            select(Series.id, Series.digest)
            .where(
                Series.project_id == self._project_id,
                Series.is_in_clickhouse == clickhouse,
                Series.digest.not_like(f"{_RETIRED}%"),
            )
            .order_by(Series.id)
        )
        return {row.id: row.digest for row in rows}

    async def move(self, series_id: int, *, to_clickhouse: bool) -> None:
        """Record that the facts of a series were copied; call ``lock`` first."""
        await self._update(
            Series.id == series_id, is_in_clickhouse=to_clickhouse, inserting_until=0, may_repeat_since=0
        )

    async def lock_one(self, series_id: int) -> Literal["database", "clickhouse"] | None:
        """Wait for other writers of a series, retired or not, and keep them out until the transaction ends.

        Return where its facts are; None where it is gone.
        """
        found = await self._session.scalar(
            select(Series.is_in_clickhouse).where(Series.id == series_id).with_for_update()
        )
        return None if found is None else ("clickhouse" if found else "database")

    async def remove_series(self, series_id: int) -> None:
        """Remove a retired series whose facts were removed."""
        await self._session.execute(delete(Series).where(Series.id == series_id))

    async def are_in_clickhouse(self, series_ids: Collection[int]) -> bool:
        """Whether some series still exist, are not retired, and still have their facts in ClickHouse."""
        found = select(func.count()).where(
            Series.id.in_(series_ids), Series.is_in_clickhouse, Series.digest.not_like(f"{_RETIRED}%")
        )
        return await self._session.scalar(found) == len(set(series_ids))

    async def all_ids(self) -> Sequence[int]:
        return (await self._session.scalars(select(Series.id).where(Series.project_id == self._project_id))).all()

    async def series_with(self, person_ids: Sequence[int]) -> set[int]:
        """Return the series that have a fact of one of the persons."""
        found: set[int] = set()
        for chunk in chunks(person_ids):
            # Looked up in each series of the project: PostgreSQL has no index that begins with persons.
            has_one = exists().where(Fact.series_id == Series.id, Fact.person_id.in_(chunk))
            found |= set(
                await self._session.scalars(select(Series.id).where(Series.project_id == self._project_id, has_one))
            )
        return found

    async def append(self, matches: Mapping[int, Sequence[Match]], bulk: Set[int]) -> None:
        """Store the facts of series, those of some series in bulk. Call ``lock`` first, and ``choose_bulk``.

        Rows are sorted by person, so that neighbors touch the same pages of the index of persons: 3.6 instead of 5.2
        microseconds of PostgreSQL's time per row, 1.6 of them without that index.
        """
        await self.insert(await self.to_rows(matches), bulk)

    async def insert_made(self, series_id: int, made: MadeFacts, *, in_bulk: bool) -> None:
        """Store the facts of the next events of a series, in the order of its table. Call ``lock`` first.

        PostgreSQL has them in the order of persons, so that the index is filled in its own order.
        """
        codes = (await self.codes_of({series_id: made.named()}))[series_id]
        numbers = [codes.get(text, 0) for text in made.variants]
        by = "person_id" if self._dialect == "postgresql" else "sequence"

        def ordered() -> Columns:
            facts = made.select(np.argsort(made.columns[by], kind="stable"))
            series_ids = np.full(len(facts), series_id, np.int32)
            return {"series_id": series_ids, **facts.columns, "variant": facts.numbered(numbers)}

        columns = await in_thread(ordered, if_long=len(made) > FEW_MATCHES)
        nulls = [] if "value" in columns else ["value"]
        await insert_columns(self._session, Fact, columns, [*nulls, "is_appended"] if in_bulk else nulls)

    async def to_rows(self, matches: Mapping[int, Sequence[Match]]) -> list[Row]:
        """Return the facts of series as rows of ``FACT_COLUMNS``, by person; new variants get a code."""
        are_many = sum(map(len, matches.values())) > FEW_MATCHES
        codes = await self.codes_of(await in_thread(lambda: _variants_of(matches), if_long=are_many))
        return await in_thread(lambda: _rows(matches, codes), if_long=are_many)

    async def interrupted(self, series_ids: Iterable[int]) -> Sequence[int]:
        """Return the series of which facts were being inserted into ClickHouse beyond the watermark; ``lock`` first."""
        begun = Series.inserting_until > Series.watermark
        return (await self._session.scalars(select(Series.id).where(Series.id.in_(list(series_ids)), begun))).all()

    async def begin_inserting(self, series_ids: Iterable[int], until: int) -> None:
        """Record that facts up to an event are about to be inserted into ClickHouse."""
        await self._update(Series.id.in_(list(series_ids)), inserting_until=until)

    async def expect_repeats(self, series_ids: Iterable[int]) -> None:
        """Record that facts of some series may be in ClickHouse more than once from now on."""
        await self._update(Series.id.in_(list(series_ids)), may_repeat_since=to_microseconds(utc_now()))

    async def may_repeat(self, before: dt.datetime) -> Mapping[int, int]:
        """Return the series for which ``expect_repeats`` was last called before a moment, and when that was."""
        since = Series.may_repeat_since
        rows = await self._session.execute(
            select(Series.id, since).where(
                Series.project_id == self._project_id, since > 0, since < to_microseconds(before)
            )
        )
        return {row.id: row.may_repeat_since for row in rows}

    async def expect_no_repeats(self, series_id: int, since: int) -> None:
        """Take ``expect_repeats`` back, unless it was called again since a time."""
        await self._update((Series.id == series_id) & (Series.may_repeat_since == since), may_repeat_since=0)

    async def _update(self, condition: ColumnElement[bool], **values: object) -> None:
        await self._session.execute(
            update(Series).where(condition).values(**values).execution_options(synchronize_session=False)
        )

    async def codes_of(self, values: Mapping[int, set[str]]) -> Mapping[int, Mapping[str, int]]:
        """Return a code for each variant text of each series; a new text gets the next code."""
        codes = {series_id: {"": 0} for series_id in values}
        everything = sorted(set[str]().union(*values.values()) - {""})
        for chunk in chunks(everything):  # a series may have stored any number of others
            wanted = {"series": list(values), "values": list(chunk)}
            for series_id, value, code in await fetch_within(self._session, _variants_query(self._dialect), wanted):
                codes[series_id][value] = code
        for series_id, texts in values.items():
            if new := sorted(texts - codes[series_id].keys()):
                codes[series_id] |= await self._give_codes(series_id, new)
        return codes

    async def _give_codes(self, series_id: int, values: Sequence[str]) -> Mapping[str, int]:
        last = await self._session.scalar(
            select(func.max(SeriesVariant.code)).where(SeriesVariant.series_id == series_id)
        )
        codes = {value: code for code, value in enumerate(values, start=(last or 0) + 1)}
        await self._session.execute(
            insert(SeriesVariant),
            [{"series_id": series_id, "code": code, "value": value} for value, code in codes.items()],
        )
        return codes

    async def move_watermarks(self, series_ids: Iterable[int], sequence: int) -> None:
        """Move the watermarks of series to an event. Call ``lock`` first."""
        moved = {"wanted": list(series_ids), "reached": sequence}
        await execute_within(self._session, _watermark_update(self._dialect), [moved])


def _variants_of(matches: Mapping[int, Sequence[Match]]) -> dict[int, set[str]]:
    return {series_id: {match.variant for match in found} for series_id, found in matches.items()}


def _rows(matches: Mapping[int, Sequence[Match]], codes: Mapping[int, Mapping[str, int]]) -> list[Row]:
    """Return the facts of series as rows, in the order of their persons."""
    rows: list[Row] = [
        (series_id, sequence, person_id, time, value, codes[series_id][variant])
        for series_id, found in matches.items()
        for sequence, person_id, time, value, variant, _ in found
    ]
    rows.sort(key=BY_PERSON)
    return rows
