"""What ClickHouse reads of archived events to make facts itself, where that decides exactly as ``SeriesMatcher`` does.

ClickHouse decides nothing. It lists the combinations of a name and of the raw JSON tokens of the properties that
series read; the matcher says which facts each combination makes; and ClickHouse makes them. Numbers that are only
summed up are the exception: they differ from event to event, and ClickHouse reads those that JSON writes as numbers.

Its tokens stand for the same values as those that the matcher gets: it prints them again, where the matcher takes them
as they were sent. Events of which that cannot be said are *unsure*, and are matched in Python one by one.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from app.db import clickhouse_flags
from app.db.clickhouse import literal
from app.db.clickhouse_flags import IS_STRANGE, UNSURE, is_flag_property
from app.events.repository import NO_PERSON
from app.metrics.facts.direct_filters import is_plain
from app.metrics.facts.matching import NO_NUMBER, SeriesMatcher

MAX_KEYS: Final = 4
MAX_COMBINATIONS: Final = 1_000
_MAX_NAMES: Final = 100
_MAX_TOKEN_BYTES: Final = 500
_A_NUMBER: Final = "0"  # stands for all tokens that are numbers, where only the sum of them matters
_LONGEST_INTEGER: Final = 18  # digits up to which all texts of a number mean the same


class Combination(NamedTuple):
    """The name of events, and the tokens of the properties that are read of them, empty for an absent one."""

    name: str
    tokens: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """A fact that events of a combination make. ``value`` is None where it is the number that each event has."""

    series_id: int
    variant: str
    value: float | None


def reads_few(matcher: SeriesMatcher) -> bool:
    """Whether a series is one whose facts ClickHouse may make: actors are persons, and few properties are read."""
    listed = {source.name for source in matcher.definition.sources}
    return (
        matcher.actor_property is None
        and 0 < len(listed) <= _MAX_NAMES
        and len(matcher.keys) <= MAX_KEYS
        and all(map(is_plain, matcher.keys))
    )


class ArchivedTokens:
    """The tokens that some series read of archived events, in SQL. The series read the same properties.

    ``by_flags`` takes those of flags from their own column, which is a small part of the properties. It is unsure of a
    few more.
    """

    def __init__(
        self, table: str, project_id: int, matchers: Mapping[int, SeriesMatcher], *, by_flags: bool = False
    ) -> None:
        self._table = table
        self._project_id = project_id
        self._matchers = matchers
        [self.keys] = {matcher.keys for matcher in matchers.values()}
        every = [source.name for matcher in matchers.values() for source in matcher.definition.sources]
        listed = sorted({name for name in every if name is not None})
        self._all_names = None in every
        self._is_listed = f"name IN ({', '.join(map(literal, listed))})" if listed else "0"
        other = "other"
        while other in listed:
            other += "'"
        self._name = f"if({self._is_listed}, toString(name), {literal(other)})" if self._all_names else "toString(name)"
        self.summed = self._summed()
        self._in_text = [key for key in self.keys if not (by_flags and is_flag_property(key))]
        self._tokens = [self._token(key) for key in self.keys]
        self._combined = [self._combination(token, key) for token, key in zip(self._tokens, self.keys, strict=True)]

    def _summed(self) -> Collection[str]:
        """Return the properties of which every number makes the same fact but for its value."""
        values = {one.definition.value_property for one in self._matchers.values()} - {None}
        compared = frozenset[str]().union(*(one.compared_keys for one in self._matchers.values()))
        return [key for key in self.keys if key in values and key not in compared]

    def combinations(self, after: int, until: int) -> str:
        """Return the statement for all combinations in a range, with the number of their events.

        It stops beyond the most combinations.
        """
        columns = ", ".join([f"{self._name} AS kind", *self._combined, "count()"])
        return (
            f"SELECT {columns} FROM {self._table} FINAL WHERE {self._inside(after, until)}"  # noqa: S608  # our own names; values are numbers, or pass through ``literal``
            f" GROUP BY {', '.join([self._name, *self._combined])}"
            f" SETTINGS max_rows_to_group_by = {MAX_COMBINATIONS + 1:d}, group_by_overflow_mode = 'break'"
        )

    def is_sure(self, combination: Combination) -> bool:
        """Whether the matcher may decide on a combination."""
        return UNSURE not in combination.tokens

    def unsure(self, columns: str, after: int, until: int) -> str:
        """Return the statement for some columns of the unsure events of a range."""
        is_unsure = " OR ".join(f"{token} = '{UNSURE}'" for token in self._tokens)
        return (
            f"SELECT {columns} FROM {self._table} FINAL"  # noqa: S608  # our own names; values are numbers, or pass through ``literal``
            f" PREWHERE {is_unsure} WHERE {self._inside(after, until)}"
        )

    def facts(self, after: int, until: int, outcomes: Mapping[Combination, Sequence[Outcome]], codes: "Codes") -> str:
        """Return the statement for the facts of the sure events of a range, by the columns of ``FACTS``."""
        made = [(combination, facts) for combination, facts in outcomes.items() if facts]
        keys = ", ".join(literal(_joined(combination)) for combination, _ in made)
        rows = ",".join(f"[{','.join(self._fact(one, codes) for one in facts)}]" for _, facts in made)
        # One text, because ClickHouse limits how many elements a statement has.
        listed = f"CAST('[{rows}]', 'Array(Array(Tuple(UInt32, UInt32, Float64, UInt8)))')"
        joined = " || '\\n' || ".join([*self._combined, self._name])
        place = f"transform({joined}, [{keys}], range(toUInt64(1), toUInt64({len(made) + 1:d})), toUInt64(0))"
        numbers = {self.keys.index(key): f"number_{self.keys.index(key)}" for key in self.summed}
        read = "".join(f", toFloat64OrZero({self._tokens[at]}) AS {name}" for at, name in numbers.items())
        cases = "".join(f"made.4 = {at + 1}, {name}, " for at, name in numbers.items())
        return (
            f"SELECT toUInt32({self._project_id:d}), made.1, person, time, sequence, made.2,"  # noqa: S608  # as above
            f" {f'multiIf({cases}made.3)' if cases else 'made.3'}"
            f" FROM (SELECT person, time, sequence{read}, arrayElement({listed}, {place}) AS facts"
            f" FROM {self._table} FINAL WHERE {self._inside(after, until)}) ARRAY JOIN facts AS made"
        )

    def _fact(self, outcome: Outcome, codes: "Codes") -> str:
        """Return series, code, value, and the place of the property that holds the value instead, from 1."""
        value_property = self._matchers[outcome.series_id].definition.value_property
        place = self.keys.index(value_property) + 1 if outcome.value is None and value_property else 0
        value = NO_NUMBER if outcome.value is None else outcome.value
        code = codes[outcome.series_id][outcome.variant]
        return f"({outcome.series_id:d},{code:d},{value!r},{place:d})"

    def _inside(self, after: int, until: int) -> str:
        names = "" if self._all_names else f" AND {self._is_listed}"
        return (
            f"project = {self._project_id:d} AND sequence > {after:d} AND sequence <= {until:d}"
            f" AND person != {NO_PERSON:d}{names}"
        )

    def _combination(self, token: str, key: str) -> str:
        """Return what tells combinations apart: a token, or that it is a number."""
        return f"if({_is_number(token)}, '{_A_NUMBER}', {token})" if key in self.summed else token

    def _token(self, key: str) -> str:
        """Return the token of a property: empty where an event has none, and ``UNSURE`` where that is not sure.

        All that is asked of every event makes up one number: for questions that are joined by AND and OR, or that
        depend on each other, ClickHouse would copy the properties of the events in question each time.
        """
        if key not in self._in_text:
            column = clickhouse_flags.COLUMN
            return f"if({column} = '', '{UNSURE}', JSONExtractRaw({column}, {literal(key)}))"
        first, quoted = f"JSONExtractRaw(properties, {literal(key)})", f'"{key}"'
        has_escapes = "(position(properties, '\\\\') > 0)"
        is_repeated = f"(countSubstrings(properties, {literal(quoted)}) > 1)"
        is_known = f"({first} != '') * {_is_simple(first)} * (1 - {IS_STRANGE})"
        # Properties that lack the only key are not decoded by the matcher. Otherwise a token shows that they are JSON.
        is_absent = f"(position(properties, {literal(key)}) = 0)"
        if len(self.keys) > 1:
            tokens = " + ".join(f"(JSONExtractRaw(properties, {literal(one)}) != '')" for one in self._in_text)
            is_absent = f"(({tokens}) > 0) * (1 - {IS_STRANGE})"
        state = (
            f"8 * greatest({has_escapes}, {is_repeated}) + 4 * {is_known} + 2 * ({first} = '') * {is_absent}"
            f" + ({first} = '')"
        )
        is_object = f"multiIf({IS_STRANGE}, '{UNSURE}', JSONType(properties) = 'Object', '', '{UNSURE}')"
        return (
            f"multiIf({state} >= 8, {self._last(key)}, {state} >= 4, {first}, {state} >= 2, '',"
            f" {state} = 1, {is_object}, '{UNSURE}')"
        )

    @staticmethod
    def _last(key: str) -> str:
        """Return the token of a property whose key is repeated, or may be written with escapes: the last one counts.

        It takes several times as long as the first one. Where the number of keys is in doubt, it is not sure.
        """
        keys = "mapKeys(JSONExtract(properties, 'Map(String, String)'))"
        of_keys = f"arrayLastIndex(key -> key = {literal(key)}, keys)"
        raw = f"if({of_keys} = 0, '', JSONExtractRaw(properties, toInt64({of_keys})))"
        known = f"if({_is_simple('raw')} > 0, raw, '{UNSURE}')"
        listed = (
            f"arrayMap(keys -> if(length(keys) = JSONLength(properties), arrayMap(raw -> {known}, [{raw}])[1],"
            f" '{UNSURE}'), [{keys}])[1]"
        )
        return f"multiIf({IS_STRANGE}, '{UNSURE}', JSONType(properties) = 'Object', {listed}, '{UNSURE}')"


# The columns of a fact in the order in which ``ArchivedTokens.facts`` returns them.
FACTS: Final = "project, series, person, time, sequence, variant, value"

Codes = Mapping[int, Mapping[str, int]]


def outcomes_of(
    combinations: Collection[Combination],
    keys: Sequence[str],
    matchers: Mapping[int, SeriesMatcher],
    summed: Collection[str],
) -> dict[Combination, list[Outcome]]:
    """Return the facts that the matchers make of an event of each combination."""
    names = [json.dumps(key, ensure_ascii=False) for key in keys]
    found: dict[Combination, list[Outcome]] = {}
    for combination in combinations:
        pairs = [f"{name}:{token}" for name, token in zip(names, combination.tokens, strict=True) if token]
        event = (0, 1, 0, combination.name, f"{{{','.join(pairs)}}}")
        tokens = dict(zip(keys, combination.tokens, strict=True))
        found[combination] = []
        for series_id, matcher in matchers.items():
            value_property = matcher.definition.value_property
            differs = value_property in summed and tokens[value_property or ""] == _A_NUMBER
            for match in matcher.match([event]):
                found[combination].append(Outcome(series_id, match.variant, None if differs else match.value))
    return found


def _joined(combination: Combination) -> str:
    """Return a combination as one text, as ``ArchivedTokens.facts`` compares it: tokens have no line breaks."""
    return "\n".join([*combination.tokens, combination.name])


def _is_number(token: str) -> str:
    """Return whether a JSON token is a number, by where its first character stands among those of tokens."""
    return f"bitAnd({token} >= '-', {token} < ':')"


def _is_simple(token: str) -> str:
    """Return whether a token that is printed again means what it meant: no array or object, and no huge number.

    ClickHouse 26.5 prints exponents of three digits with two of them.
    """
    is_exact = (
        f"greatest(length({token}) <= {_LONGEST_INTEGER:d}, position({token}, '.') > 0) * (position({token}, 'e') = 0)"
    )
    is_other = f"greatest({token} < '-', {token} = 'true', {token} = 'false', {token} = 'null')"
    return f"((length({token}) <= {_MAX_TOKEN_BYTES:d}) * greatest({is_other}, {_is_number(token)} * {is_exact}))"
