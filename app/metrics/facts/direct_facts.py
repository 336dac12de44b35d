"""Facts that the database makes of events itself, where it can decide exactly as ``SeriesMatcher`` does.

Reading the properties of events into Python costs several times what the database needs for them. So it decides about
ordinary events, and leaves over every event of which it cannot be sure: those are matched in Python. What it compares
is the raw JSON token of a property, the same that the matcher gets.
"""

import functools
import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    ColumnElement,
    Double,
    Integer,
    Select,
    Subquery,
    Text,
    and_,
    bindparam,
    case,
    false,
    func,
    literal,
    literal_column,
    not_,
    null,
    or_,
    select,
    true,
    type_coerce,
)
from sqlalchemy import cast as as_type
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from app.common import limits
from app.db.bulk import Columns, read_with_texts
from app.db.compiled_queries import is_among
from app.db.drivers import interrupted_after
from app.db.models import Event
from app.db.rows import fetch_rows_by_size
from app.db.sizes import octets
from app.events.repository import NO_PERSON
from app.metrics.facts.direct_filters import can_decide, decided, is_plain, keys_of
from app.metrics.facts.matching import EventRow, key_text
from app.metrics.facts.series import SeriesDefinition
from app.properties.filters import Conjunction, Group, canonical

_UNSURE: Final = -1  # in place of the place of a variant: only the matcher can tell
# A statement of SQLite that takes longer is given up. (PostgreSQL has a timeout of its own.)
_STATEMENT_SECONDS: Final = 5.0
_MAX_NAMES: Final = 100
_MAX_PROPERTIES: Final = 4
# SQLite refuses patterns of 50,000 bytes.
_MAX_KEY_CHARACTERS: Final = 1_000
# Series with more variants than this are matched in Python: the statement names them all.
MAX_VARIANTS: Final = 100
# Larger properties are left over, so that the bytes that a statement reads are bounded.
_MAX_PROPERTY_BYTES: Final = 16 * 1024
_ARROW_SINCE: Final = (3, 38)  # the version of SQLite that returns raw tokens
_BARE_VARIANT: Final = re.compile(r"true|false|null|0|[1-9][0-9]{0,17}")
_NOT_NUMERIC: Final = ("", "true", "false", "null")
# Powers of ten by which SQLite divides integers: both are exact, so that the quotient is the nearest number. Its own
# conversion of decimal fractions is not always.
_FRACTIONS: Final = {digits: 10.0**digits for digits in range(1, 7)}
_EXACT_CHARACTERS: Final = 15
_SAFE_DIGITS: Final = 18  # this many digits always fit into 64 bits


def is_direct(definition: SeriesDefinition) -> bool:
    """Whether the database makes the facts of a series: no actors but persons, one simple filter, few properties.

    It parses the text of an event once for each property, which costs a tenth of matching the event in Python.
    """
    known = SeriesDefinition(definition.sources, definition.variant_property, definition.value_property)
    named = {source.name for source in definition.sources}
    tree = _filter_of(definition)
    properties = [] if tree is None else _properties_of(definition, tree)
    return (
        known == definition  # whatever else a definition says, the matcher decides
        and 0 < len(named) <= _MAX_NAMES
        and tree is not None
        and can_decide(tree)
        and len(properties) <= _MAX_PROPERTIES
        and all(is_plain(key) and len(key) <= _MAX_KEY_CHARACTERS for key in properties)
    )


def _filter_of(definition: SeriesDefinition) -> "Group | None":
    """Return the filter that all events of a series pass; None where it depends on their name."""
    unfiltered = {source.name for source in definition.sources if not source.filter.children}
    named = {source.name for source in definition.sources}
    if None in unfiltered or (None not in named and named == unfiltered):
        return Conjunction()
    filters = {canonical(source.filter): source.filter for source in definition.sources}
    return next(iter(filters.values())) if len(filters) == 1 else None


def _properties_of(definition: SeriesDefinition, tree: Group) -> Sequence[str]:
    named = (definition.variant_property, definition.value_property, *keys_of(tree))
    return list(dict.fromkeys(key for key in named if key is not None))


@dataclass(frozen=True)
class DecidedFacts:
    """The facts of a range of events, and the sequence numbers of events that only the matcher can tell."""

    columns: Columns
    unsure: NDArray[np.int64]


class DirectFactRepository:
    """Bound to one project when built, so no query can forget the tenant."""

    def __init__(self, session: AsyncSession, project_id: int) -> None:
        self._session = session
        self._project_id = project_id
        self._dialect = session.get_bind().dialect.name

    async def decide(
        self,
        definition: SeriesDefinition,
        variants: Sequence[str],
        after: int,
        until: int,
        *,
        carefully: bool,
    ) -> DecidedFacts:
        """Return the facts of the events in a range of sequence numbers, as columns of ``MadeFacts``.

        Parameters
        ----------
        variants
            Those that the database knows; events with others are unsure.
        carefully
            Without it PostgreSQL is faster, and fails for more events.

        Raises
        ------
        asyncpg.PostgresError, sqlite3.OperationalError
            When the properties of an event are not JSON, or the statement takes too long.
        """
        query = self._decisions(definition, variants, after, until, carefully=carefully)
        async with interrupted_after(self._session, _STATEMENT_SECONDS):
            columns = await read_with_texts(self._session, query)
        is_sure = columns["variant"] != _UNSURE
        if is_sure.all():
            return DecidedFacts(columns, np.empty(0, np.int64))
        sure = {name: values[is_sure] for name, values in columns.items()}
        return DecidedFacts(sure, columns["sequence"][~is_sure])

    def _decisions(
        self, definition: SeriesDefinition, variants: Sequence[str], after: int, until: int, *, carefully: bool
    ) -> Select[*tuple[Any, ...]]:
        """Return the query of the facts of events in a range, and of those that may be facts: these are ``_UNSURE``."""
        tree = _filter_or_fail(definition)
        properties = _properties_of(definition, tree)
        tokens = self._tokens(properties, self._between(definition, after, until), carefully=carefully)
        read = self._apart(tokens) if properties else tokens.subquery()
        of = {key: read.c[f"token_{place}"] for place, key in enumerate(properties)}
        passes = decided(tree, of) if tree.children else true()
        found = select(
            *(read.c[name] for name in ("sequence", "person_id", "time")),
            *(
                []
                if definition.value_property is None
                else [self._number(of[definition.value_property]).label("value")]
            ),
            _variant(definition, of, variants).label("variant"),
            passes.label("passes"),
        )
        found = found.where(passes.is_not(false())) if tree.children else found
        number = self._apart(found) if definition.value_property is not None else found.subquery()
        doubtful = [number.c.passes.is_(None)] if tree.children else []
        doubtful += [number.c.value.is_(None)] if definition.value_property is not None else []
        doubtful += [number.c.variant.is_(None)] if definition.variant_property is not None else []
        variant = case((or_(false(), *doubtful), _UNSURE), else_=number.c.variant)
        kept = select(*(number.c[name] for name in ("sequence", "person_id", "time")))
        if definition.value_property is not None:
            kept = kept.add_columns(func.coalesce(number.c.value, self._no_number(), type_=Double).label("value"))
        return kept.add_columns(type_coerce(variant, Integer).label("variant"))

    async def left_over(self, unsure: NDArray[np.int64]) -> Sequence[EventRow]:
        """Return the events of which the database is unsure: fewer where they are large, or were removed meanwhile."""
        numbers = unsure.tolist()
        if not numbers:
            return ()
        bound = {"project_id": self._project_id, "unsure": numbers}
        rows, _ = await fetch_rows_by_size(
            self._session,
            _left_over_query(self._dialect),
            Event.sequence,
            Event.properties,
            limits.ROWS_BYTES.value,
            bound,
        )
        return cast("Sequence[EventRow]", rows)

    def _between(self, definition: SeriesDefinition, after: int, until: int) -> Sequence[ColumnElement[bool]]:
        conditions = [
            Event.project_id == self._project_id,
            Event.sequence > after,
            Event.sequence <= until,
            Event.person_id != NO_PERSON,
        ]
        return conditions if definition.names is None else [*conditions, Event.name.in_(sorted(definition.names))]

    def _tokens(
        self, properties: Sequence[str], conditions: Sequence[ColumnElement[bool]], *, carefully: bool
    ) -> Select[*tuple[Any, ...]]:
        """Return what facts keep of events anyway, and the tokens of properties, in their order."""
        found: list[ColumnElement[Any]]
        if self._dialect == "postgresql" and len(properties) > 1:
            # Checked once that it is JSON, for all properties.
            document = as_type(Event.properties, JSON)
            known = case((self._is_unsure(carefully=carefully), null()), else_=document).label("document")
            read = self._apart(select(Event.sequence, Event.person_id, Event.time, known).where(*conditions))
            found = [
                case((read.c.document.is_(None), null()), else_=_field(read.c.document, key)) for key in properties
            ]
            events: Select[*tuple[Any, ...]] = select(read.c.sequence, read.c.person_id, read.c.time)
        else:
            is_only = len(properties) == 1
            found = [self._token(key, is_only=is_only, carefully=carefully) for key in properties]
            events = select(Event.sequence, Event.person_id, Event.time).where(*conditions)
        return events.add_columns(*(token.label(f"token_{place}") for place, token in enumerate(found)))

    def _number(self, token: ColumnElement[Any]) -> ColumnElement[Any]:
        if self._dialect == "postgresql":
            return _number_in_postgresql(token, self._no_number())
        return _number_in_sqlite(token, self._no_number())

    def _no_number(self) -> ColumnElement[Any]:
        # A literal in the words of the database: no other would be written into the statement.
        return literal_column("'-Infinity'::float8" if self._dialect == "postgresql" else "-9e999", Double)

    def _apart(self, query: Select[*tuple[Any, ...]]) -> Subquery:
        """Return a subquery whose columns are computed once for each row, and not for each mention of them."""
        # SQLite has no offset without a limit.
        return (query.limit(-1) if self._dialect == "sqlite" else query).offset(0).subquery()

    @staticmethod
    def _is_unsure(*, carefully: bool) -> ColumnElement[bool]:
        """Whether PostgreSQL leaves the properties of an event to the matcher; ``carefully`` those with escapes too."""
        text = Event.properties
        has_escapes = [func.strpos(text, "\\u") > 0] if carefully else []
        return or_(octets(text) > _MAX_PROPERTY_BYTES, func.left(text, 1) != "{", *has_escapes)

    def _token(self, key: str, *, is_only: bool, carefully: bool) -> ColumnElement[Any]:
        """Return the raw token of a property, empty where an event has none; null where it is unsure.

        Properties that cannot have the key are not parsed, and may be no JSON, where it is the only one: the matcher
        does not decode them either. PostgreSQL returns the last one of a repeated key, and knows keys that are written
        with escapes. It fails where other properties are not JSON, and unless ``carefully`` also where an escape stands
        for NUL or for half of a surrogate pair. SQLite reads a text as if it ended before a NUL, which no JSON has.
        """
        text = Event.properties
        only = true() if is_only else false()
        if self._dialect == "postgresql":
            return case(
                (and_(only, func.strpos(text, key) == 0, func.strpos(text, "\\") == 0), ""),
                (self._is_unsure(carefully=carefully), null()),
                else_=_field(as_type(text, JSON), key),
            )
        quoted = f'"{key}"'
        # SQLite compares keys as they are written, and returns the first one of a repeated key.
        is_unsure = or_(func.substr(text, 1, 1) != "{", func.json_valid(text) == 0, _has(text, quoted, quoted))
        token = text.op("->", return_type=Text())(f"$.{quoted}")
        return case(
            (_has(text, "\\"), null()),
            (and_(only, not_(_has(text, key))), ""),
            (is_unsure, null()),
            else_=func.coalesce(token, ""),
        )


@functools.cache
def _left_over_query(dialect_name: str) -> Select[int, int, int, str, str]:
    """Return the query of the events of a project that are ``unsure``."""
    return select(Event.sequence, Event.person_id, Event.time, Event.name, Event.properties).where(
        Event.project_id == bindparam("project_id", type_=Integer),
        is_among(Event.sequence, "unsure", dialect_name),
    )


def _field(document: ColumnElement[Any], key: str) -> ColumnElement[Any]:
    """Return the raw token of a property in PostgreSQL's JSON, empty where there is none."""
    return func.coalesce(as_type(func.json_object_field(document, key), Text), "")


def _has(text: ColumnElement[Any] | InstrumentedAttribute[str], *parts: str) -> ColumnElement[bool]:
    """Whether a text of SQLite has some parts, one after the other, before the first NUL.

    GLOB takes less than half the time of ``instr``, which goes from character to character.
    """
    escaped = (re.sub(r"[*?\[]", r"[\g<0>]", part) for part in parts)
    return text.bool_op("GLOB")(f"*{'*'.join(escaped)}*")


def _filter_or_fail(definition: SeriesDefinition) -> Group:
    tree = _filter_of(definition)
    if tree is None:
        raise ValueError("the database decides one filter for all events of a series")
    return tree


def _variant(
    definition: SeriesDefinition, tokens: Mapping[str, ColumnElement[Any]], variants: Sequence[str]
) -> ColumnElement[Any]:
    """Return the place of the variant that an event names; null where only the matcher can tell."""
    if definition.variant_property is None:
        return literal(0, Integer)
    by_token = {text: literal(place, Integer) for text, place in _places_by_token(variants).items()}
    return case(by_token, value=tokens[definition.variant_property], else_=null())


def _places_by_token(variants: Sequence[str]) -> Mapping[str, int]:
    """Return the places of variants by the tokens that stand for them; the empty token is an absent property."""
    tokens = {"": variants.index("")}
    for place, value in enumerate(variants):
        candidates = [f'"{value}"'] if is_plain(value) else []
        if _BARE_VARIANT.fullmatch(value):
            candidates.append(value)
        tokens |= {token: place for token in candidates if key_text(token.encode()) == value}
    return tokens


def _number_in_postgresql(token: ColumnElement[Any], nothing: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the number of a raw token, as the matcher reads it; null where only the matcher can tell."""
    digits = r"[0-9]{1,17}(\.[0-9]{1,15})?"
    # What is left of a number without exponent is compared at a quarter of the cost of a regular expression.
    punctuation = func.translate(token, "0123456789", "")
    return case(
        (token.in_(_NOT_NUMERIC), nothing),
        (and_(punctuation.in_(("", "-")), func.length(token) <= _SAFE_DIGITS), as_type(token, Double)),
        (and_(punctuation.in_((".", "-.")), func.length(token) <= 2 * _SAFE_DIGITS), as_type(token, Double)),
        (token.bool_op("~")(f'^"[+-]?{digits}"$'), as_type(func.btrim(token, '"'), Double)),
        (token.bool_op("~")(r'^"[^0-9\\]*"$'), nothing),
        else_=null(),
    )


def _number_in_sqlite(token: ColumnElement[Any], nothing: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return what ``_number_in_postgresql`` does."""
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
