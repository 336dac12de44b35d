"""Facts that the database makes of events itself, where it can decide exactly as ``SeriesMatcher`` does.

Reading the properties of events into Python costs several times what the database needs for them. So it stores the
facts of ordinary events, and leaves over every event of which it cannot be sure: those are matched in Python. What it
compares is the raw JSON token of a property, the same that the matcher gets.
"""

import re
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from sqlalchemy import (
    ColumnElement,
    CursorResult,
    Double,
    Integer,
    Select,
    Text,
    and_,
    case,
    exists,
    func,
    insert,
    literal,
    null,
    or_,
    select,
)
from sqlalchemy import cast as as_type
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from app.common import limits
from app.db.bulk import fetch_rows_by_size, table_of
from app.db.models import Event, Fact, SeriesVariant
from app.db.sizes import octets
from app.events.repository import NO_PERSON
from app.metrics.facts.matching import NO_NUMBER, EventRow, key_text
from app.metrics.facts.series import SeriesDefinition

_FACT_COLUMNS: Final = ("series_id", "sequence", "person_id", "time", "value", "variant")
_MAX_NAMES: Final = 100
# Series with more variants than this are matched in Python: the statement names them all.
_MAX_CODES: Final = 100
# Larger properties are left over, so that the bytes that a statement reads are bounded.
_MAX_PROPERTY_BYTES: Final = 16 * 1024
_ARROW_SINCE: Final = (3, 38)  # the version of SQLite that returns raw tokens
_BARE_VARIANT: Final = re.compile(r"true|false|null|0|[1-9][0-9]{0,17}")
_NOT_NUMERIC: Final = ("", "true", "false", "null")
# Powers of ten by which SQLite divides integers: both are exact, so that the quotient is the nearest number. Its own
# conversion of decimal fractions is not always.
_FRACTIONS: Final = {digits: 10.0**digits for digits in range(1, 7)}
_EXACT_CHARACTERS: Final = 15


def is_direct(definition: SeriesDefinition) -> bool:
    """Whether the database makes the facts of a series: no filters, no actors but persons, at most one plain property.

    Of two properties the database would parse every text twice, and be no faster than the matcher.
    """
    known = SeriesDefinition(definition.sources, definition.variant_property, definition.value_property)
    unfiltered = {source.name for source in definition.sources if not source.filter.children}
    named = {source.name for source in definition.sources}
    return (
        known == definition  # whatever else a definition says, the matcher decides
        and 0 < len(named) <= _MAX_NAMES
        and (None in unfiltered or (None not in named and named == unfiltered))
        and len(_properties_of(definition)) <= 1
        and all(map(_is_plain, _properties_of(definition)))
    )


def _properties_of(definition: SeriesDefinition) -> Sequence[str]:
    return [key for key in (definition.variant_property, definition.value_property) if key is not None]


def _is_plain(text: str) -> bool:
    """Whether JSON writes a text as it is, between quotes."""
    return text != "" and text.isprintable() and '"' not in text and "\\" not in text


class DirectFactRepository:
    """Bound to one project when built, so no query can forget the tenant."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id
        self._dialect = session.get_bind().dialect.name

    async def codes(self, series_id: int) -> Mapping[str, int] | None:
        """Return the code of each variant that a series has so far; None when they are too many."""
        rows = await self._session.execute(
            select(SeriesVariant.value, SeriesVariant.code)
            .where(SeriesVariant.series_id == series_id)
            .limit(_MAX_CODES + 1)
        )
        found = {row.value: row.code for row in rows}
        return None if len(found) > _MAX_CODES else found

    async def append(
        self,
        series_id: int,
        definition: SeriesDefinition,
        codes: Mapping[str, int],
        after: int,
        until: int,
        *,
        carefully: bool,
    ) -> int:
        """Store the facts of events in a range of sequence numbers, and return their number; some may be left over.

        Without ``carefully`` it is faster, and fails for more events.

        Raises
        ------
        sqlalchemy.exc.DBAPIError
            When the properties of an event are not JSON (PostgreSQL), or the statement takes too long.
        """
        facts = self._facts(series_id, definition, codes, carefully=carefully).where(
            *self._between(definition, after, until)
        )
        # Materialized, so that the properties are parsed once and not for each mention of a column.
        reads = bool(_properties_of(definition))
        decided = facts.cte("decided").prefix_with("MATERIALIZED") if reads else facts.subquery()
        value = literal(NO_NUMBER, Double) if definition.value_property is None else self._number(decided.c.number)
        number = select(
            decided.c.series_id, decided.c.sequence, decided.c.person_id, decided.c.time, value.label("value"),
            decided.c.variant,
        ).subquery()  # fmt: skip
        rows = select(*(number.c[name] for name in _FACT_COLUMNS))
        if definition.variant_property is not None:
            rows = rows.where(number.c.variant.is_not(None))
        if definition.value_property is not None:
            rows = rows.where(number.c.value.is_not(None))
        stored = await self._session.execute(
            insert(table_of(Fact)).from_select(_FACT_COLUMNS, rows.order_by(number.c.person_id))
        )
        if self._dialect == "sqlite":  # its driver does not count the rows of statements that begin with WITH
            return await self._session.scalar(select(func.changes())) or 0
        return cast("CursorResult[Any]", stored).rowcount

    async def left_over(
        self, series_id: int, definition: SeriesDefinition, after: int, until: int, limit: int
    ) -> tuple[Sequence[EventRow], bool]:
        """Return the events in a range of which no fact was stored, and whether there may be more of them."""
        has_fact = exists().where(Fact.series_id == series_id, Fact.sequence == Event.sequence)
        query = select(Event.sequence, Event.person_id, Event.time, Event.name, Event.properties).where(
            *self._between(definition, after, until), ~has_fact
        )
        rows, is_cut = await fetch_rows_by_size(
            self._session, query.limit(limit), Event.sequence, Event.properties, limits.ROWS_BYTES.value
        )
        return cast("Sequence[EventRow]", rows), is_cut or len(rows) >= limit

    def _between(self, definition: SeriesDefinition, after: int, until: int) -> Sequence[ColumnElement[bool]]:
        conditions = [
            Event.project_id == self._project_id,
            Event.sequence > after,
            Event.sequence <= until,
            Event.person_id != NO_PERSON,
        ]
        return conditions if definition.names is None else [*conditions, Event.name.in_(sorted(definition.names))]

    def _facts(
        self, series_id: int, definition: SeriesDefinition, codes: Mapping[str, int], *, carefully: bool
    ) -> Select[*tuple[Any, ...]]:
        """Return the columns of facts, and the token of the number; null in one of the latter leaves an event over."""
        read = self._token_carefully if carefully or self._dialect == "sqlite" else self._token
        columns: list[ColumnElement[Any] | InstrumentedAttribute[int]] = [
            literal(series_id, Integer).label("series_id"),
            Event.sequence,
            Event.person_id,
            Event.time,
        ]
        variant: ColumnElement[Any] = literal(0, Integer)
        if definition.variant_property is not None:
            by_token = {text: literal(code, Integer) for text, code in _codes_by_token(codes).items()}
            variant = case(by_token, value=read(definition.variant_property), else_=null())
        if definition.value_property is not None:
            columns.append(read(definition.value_property).label("number"))
        return select(*columns, variant.label("variant"))

    @staticmethod
    def _token(key: str) -> ColumnElement[Any]:
        """Return the raw token of a property on PostgreSQL, empty where an event has none; null where it is unsure.

        It returns the last one of a repeated key, and knows keys that are written with escapes. It fails where
        properties are not JSON, or where an escape stands for NUL or for half of a surrogate pair.
        """
        text = Event.properties
        is_unsure = or_(octets(text) > _MAX_PROPERTY_BYTES, func.left(text, 1) != "{")
        token = as_type(func.json_object_field(as_type(text, JSON), key), Text)
        return case((is_unsure, null()), else_=func.coalesce(token, ""))

    def _token_carefully(self, key: str) -> ColumnElement[Any]:
        """Return what ``_token`` does, without failing for escapes, or for properties that cannot have the key.

        The latter may be no JSON: the matcher does not decode them.
        """
        text = Event.properties
        if self._dialect == "postgresql":
            is_absent = and_(func.strpos(text, key) == 0, func.strpos(text, "\\") == 0)
            has_escapes = func.strpos(text, "\\u") > 0
            return case((is_absent, ""), (has_escapes, null()), else_=self._token(key))
        quoted = f'"{key}"'
        is_absent = and_(func.instr(text, key) == 0, func.instr(text, "\\") == 0)
        is_unsure = or_(
            func.instr(text, "\\") > 0,  # SQLite compares keys as they are written
            func.substr(text, 1, 1) != "{",
            func.instr(text, func.char(0)) > 0,  # where SQLite stops reading
            func.json_valid(text) == 0,
            # It returns the first one of a repeated key.
            func.instr(func.substr(text, func.instr(text, quoted) + 1), quoted) > 0,
        )
        token = text.op("->", return_type=Text())(f"$.{quoted}")
        return case((is_absent, ""), (is_unsure, null()), else_=func.coalesce(token, ""))

    def _number(self, token: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return the number of a raw token, as the matcher reads it; null where only the matcher can tell."""
        if self._dialect == "postgresql":
            return _number_in_postgresql(token)
        return _number_in_sqlite(token)


def _codes_by_token(codes: Mapping[str, int]) -> Mapping[str, int]:
    """Return the codes of variants by the tokens that stand for them; the empty token is an absent property."""
    tokens = {"": 0}
    for value, code in codes.items():
        candidates = [f'"{value}"'] if _is_plain(value) else []
        if _BARE_VARIANT.fullmatch(value):
            candidates.append(value)
        tokens |= {token: code for token in candidates if key_text(token.encode()) == value}
    return tokens


def _number_in_postgresql(token: ColumnElement[Any]) -> ColumnElement[Any]:
    nothing, digits = literal(NO_NUMBER, Double), r"[0-9]{1,17}(\.[0-9]{1,15})?"
    return case(
        (token.in_(_NOT_NUMERIC), nothing),
        (token.bool_op("~")(f"^-?{digits}$"), as_type(token, Double)),
        (token.bool_op("~")(f'^"[+-]?{digits}"$'), as_type(func.btrim(token, '"'), Double)),
        (token.bool_op("~")(r'^"[^0-9\\]*"$'), nothing),
        else_=null(),
    )


def _number_in_sqlite(token: ColumnElement[Any]) -> ColumnElement[Any]:
    nothing = literal(NO_NUMBER, Double)
    is_number = and_(func.substr(token, 1, 1) != '"', token.bool_op("NOT GLOB")("*[^-0-9.]*"))
    is_exact = func.length(token) <= _EXACT_CHARACTERS
    point = func.instr(token, ".")
    whole = as_type(as_type(func.replace(token, ".", ""), Integer), Double)
    power = case(
        {digits: literal(power, Double) for digits, power in _FRACTIONS.items()},
        value=func.length(token) - point,
        else_=null(),
    )
    return case(
        (token.in_(_NOT_NUMERIC), nothing),
        (and_(is_number, is_exact, point == 0), as_type(token, Double)),
        (and_(is_number, is_exact), whole / power),
        (and_(func.substr(token, 1, 1) == '"', token.bool_op("NOT GLOB")("*[0-9]*")), nothing),
        else_=null(),
    )


def can_be_direct(dialect: str) -> bool:
    """Whether the database can read raw JSON tokens."""
    return dialect == "postgresql" or sqlite3.sqlite_version_info >= _ARROW_SINCE
