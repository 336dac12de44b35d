"""The database makes the same facts of events as the matcher does."""

import asyncio
import itertools
import json
from collections.abc import Sequence
from uuid import uuid4

import asyncpg
import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from app.db.compiled_queries import compile_query
from app.db.database import Database
from app.db.models import Fact, Series, SeriesVariant
from app.events.appending.repository import NewEvent, NewEventRepository
from app.events.repository import EventRepository
from app.metrics.facts.direct_facts import DirectFactRepository, is_direct
from app.metrics.facts.direct_materialization import DirectMaterialization
from app.metrics.facts.made_facts import MadeFacts, together
from app.metrics.facts.matching import NO_NUMBER, SeriesMatcher
from app.metrics.facts.materializer import Materializer
from app.metrics.facts.series import EventSource, SeriesDefinition
from app.properties.filters import parse_filter
from tests.conftest import new_service
from tests.support.examples import examples
from tests.support.service import Json, Service

ANY = parse_filter(None)
KEY = "$feature/a.b é"

UNDECIDED = [
    {"key": "x", "operator": operator, "value": value}
    for operator, value in [
        ("exact", "true"), ("exact", "1e3"), ("exact", "inf"), ("exact", ""), ("exact", "[1]"), ("exact", 1),
        ("exact", ["yes", 2]), ("icontains", "yes"), ("regex", "yes"), ("gt", 2),
        ("is_not", "yes"), ("is_set", "is_set"),
    ]
]  # fmt: skip

# What is kept of an event: sequence number, person, time, value and variant.
KeptFact = tuple[int, int, int, float, str]

keys = st.sampled_from(
    [f'"{KEY}"', json.dumps(KEY), f'"{KEY}"'.replace("/", "\\/"), '"other"', r'"a\"b"', f'"x\\"{KEY}"', '""']
)
texts = st.text(st.sampled_from('abé 😀"\\/\n\x7f07.e-'), max_size=6) | st.sampled_from(
    ["control", "test", "\u2028", "x" * 400, "x" * 401, "true", "17", "1.5", "-2", "007", "1e3", "", " 3", "٣"]
)
scalars = st.one_of(
    texts.map(json.dumps),
    texts.map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.sampled_from([r'"\u0000"', r'"\ud800"', r'"\ud83d\ude00"', '"\\u0041"', r'"\/"', '"control"', '"test"']),
    st.sampled_from(["true", "false", "null", "0", "-0", "17", "1.50", "0.1", "-12.345678", "1e3", "1E-2", "1e400"]),
    st.sampled_from(["9" * 19, "9" * 400, "123456789012345", "1234567890.12345", "0.000001", "0.0000001", "1.7e308"]),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.decimals(-10_000, 10_000, places=4).map(str),
)
# Strings that look like a member, or like the end of an object.
misleading = st.sampled_from([f'"{KEY}"', f'"{{\\"{KEY}\\": 1"', '":"', '"}"', '"{"', '","', f"\"'{KEY}':\"", '"[*"'])
colons = st.sampled_from([":", ":", " : ", "\n:\t"])
nested = st.recursive(
    st.one_of(scalars, scalars, misleading),
    lambda inner: st.one_of(
        st.builds("[{}, {}]".format, inner, inner),
        st.builds("{{{}{}{}}}".format, keys, colons, inner),
    ),
    max_leaves=3,
)
members = st.lists(st.builds("{}{}{}".format, keys, colons, nested), max_size=4)
blanks = st.sampled_from(["", "", "", " ", "\n\t"])
documents = st.builds(lambda before, inside, after: f"{before}{{{','.join(inside)}}}{after}", blanks, members, blanks)
broken = st.sampled_from(
    [
        "",
        "{}",
        "[]",
        "null",
        f'"{KEY}"',
        f'["{KEY}"]',
        f'{{"{KEY}": }}',
        f'{{"{KEY}": "control",}}',
        f'{{"{KEY}": "control"',
        f"{{'{KEY}': 'control'}}",
        f'{{"{KEY}": NaN}}',
        f'{{"{KEY}": 01}}',
        f'{{"{KEY}": +1}}',
        f'{{"{KEY}": .5}}',
        f'{{"{KEY}": 0x1F}}',
        f'{{"{KEY}": "control"}} // why',
        f'{{"{KEY}": "con\ntrol"}}',
        f'{{"{KEY}": "control"}}{{}}',
        '{"x": tru}',
        "\\",
    ]
)
properties = st.lists(st.one_of(documents, documents, documents, broken), min_size=1, max_size=12)


@pytest.mark.parametrize(("variant", "value"), [(None, None), (KEY, None), (None, KEY)])
@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(properties=properties)
async def test_facts_of_the_database_are_those_of_the_matcher(
    client: httpx.AsyncClient, database: Database, variant: str | None, value: str | None, properties: list[str]
) -> None:
    service = await new_service(client, database)
    definition = SeriesDefinition((EventSource("a", ANY),), variant, value)
    await store(service, database, *[("a", text) for text in properties], ("b", "{}"))
    events = await stored_events(service, database)
    expected = [match[:5] for match in SeriesMatcher(definition).match(events)]

    for made in await made_by_database(service, database, definition, ["", *{fact[4] for fact in expected} - {""}]):
        assert made == expected
    await Materializer(database, direct_from=1).catch_up(service.project_id, [definition])
    assert await kept_facts(service, database) == expected


@pytest.mark.parametrize(
    ("plain", "unsure"),
    [
        ('{"v": "control"}', r'{"v": "con\trol"}'),
        ('{"n": "v"}', r'{"v": "con\u0074rol"}'),
        ('{"n": 2}', ' {"n": 2, "v": "control"}'),
        ('{"v": true}', '{"v": 1.50}'),
        ("{}", '{"v": ["control"]}'),
        ('{"x": 1, "v": "control"}', '{"v": "new"}'),
    ],
)
async def test_database_leaves_over_events_of_which_it_is_unsure(
    service: Service, database: Database, plain: str, unsure: str
) -> None:
    definition = SeriesDefinition((EventSource("a", ANY),), "v")
    await store(service, database, ("a", plain), ("a", unsure))
    [first, second] = [row[0] for row in await stored_events(service, database)]

    assert await decide(service, database, definition, first - 1, second) == ([first], [second])


conditions = st.one_of(
    st.lists(st.sampled_from(["control", "test", "é 😀", "a'b", "x" * 400]), min_size=1, max_size=2).map(
        lambda values: {"key": KEY, "operator": "exact", "value": values}
    ),
    st.just({"key": "other", "operator": "exact", "value": "control"}),
)


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(properties=properties, conditions=st.lists(conditions, min_size=1, max_size=2))
async def test_filters_of_the_database_are_those_of_the_matcher(
    client: httpx.AsyncClient, database: Database, properties: list[str], conditions: list[Json]
) -> None:
    service = await new_service(client, database)
    tree = parse_filter(conditions)
    definition = SeriesDefinition((EventSource("a", tree), EventSource("c", tree)), "other")
    await store(service, database, *[("a", text) for text in properties], ("b", "{}"), ("c", f'{{"{KEY}": 3}}'))
    events = await stored_events(service, database)
    expected = [match[:5] for match in SeriesMatcher(definition).match(events)]
    assert is_direct(definition)

    for made in await made_by_database(service, database, definition, ["", *{fact[4] for fact in expected} - {""}]):
        assert made == expected
    await Materializer(database, direct_from=1).catch_up(service.project_id, [definition])
    assert await kept_facts(service, database) == expected


@pytest.mark.one_database
async def test_events_that_certainly_fail_a_filter_are_not_left_over(service: Service, database: Database) -> None:
    definition = SeriesDefinition((EventSource("a", parse_filter([{"key": "x", "value": ["yes"]}])),), "v")
    kinds = ['{"x": "yes"}', '{"x": "no", "v": "control"}', '{"x": 1}', "{}", r'{"x": "y\u0065s"}']
    await store(service, database, *[("a", text) for text in kinds])
    numbers = [row[0] for row in await stored_events(service, database)]

    assert await decide(service, database, definition, 0, numbers[-1]) == (numbers[:1], numbers[-1:])


def test_database_is_not_asked_what_it_cannot_decide() -> None:
    source, filtered = EventSource("a", ANY), EventSource("a", parse_filter([{"key": "x", "value": "1"}]))
    simple = parse_filter([{"key": "x", "value": ["yes"]}, {"key": "y", "value": "no"}])
    direct = [
        SeriesDefinition((source,), None),
        SeriesDefinition((source, EventSource("b", ANY)), "v"),
        SeriesDefinition((source, filtered), "v"),
        SeriesDefinition((EventSource(None, ANY), filtered), None, "n"),
        SeriesDefinition((source,), "v", "n"),
        SeriesDefinition((EventSource("a", simple), EventSource("b", simple)), "v"),
    ]
    others = [
        SeriesDefinition((), None),
        SeriesDefinition((filtered,), None),
        SeriesDefinition((source, EventSource(None, filtered.filter)), None),
        SeriesDefinition((source, EventSource("b", filtered.filter)), None),
        SeriesDefinition((EventSource("a", simple), EventSource("b", ANY)), "v"),
        *[SeriesDefinition((EventSource("a", parse_filter([one])),), None) for one in UNDECIDED],
        SeriesDefinition((source,), "v", actor_property="$group_0"),
        *[SeriesDefinition((source,), key) for key in ("", 'a"b', "a\\b", "a\0b", "a\nb", "a" * 30_000)],
    ]

    assert [is_direct(one) for one in direct + others] == [True] * len(direct) + [False] * len(others)


async def test_facts_follow_a_range_that_the_database_refuses(service: Service, database: Database) -> None:
    """Ranges of 2, 8 and 32 events: neither properties that are no JSON nor NUL stop those before and after."""
    definition = SeriesDefinition((EventSource("a", ANY),), "v")
    plain, nul, broken = '{"v": "control"}', r'{"v": "control", "x": "\u0000"}', '{"v": "control"'
    await store(service, database, *[("a", text) for text in [*[plain] * 5, nul, *[plain] * 20, broken, *[plain] * 9]])

    await Materializer(database, direct_from=2).catch_up(service.project_id, [definition])

    assert [fact[4] for fact in await kept_facts(service, database)] == ["control"] * 35


@pytest.mark.one_database
async def test_database_goes_on_where_it_was_unsure_of_some(service: Service, database: Database) -> None:
    """Variants that begin late are unknown to it at first, and few events may pass a filter."""
    named = ['{"v": "control", "x": "yes"}', '{"v": "test"}', '{"v": ["odd"], "x": "y\\u0065s"}'] * 20
    await store(service, database, *[("a", text) for text in ["{}"] * 30 + named])
    last = (await stored_events(service, database))[-1][0]
    for tree, count in ((ANY, 90), (parse_filter([{"key": "x", "value": ["yes"]}]), 40)):
        definition = SeriesDefinition((EventSource("a", tree),), "v")
        made = await made_in_ranges(service, database, definition, last)

        assert [one.after for one in made] == [0, *(one.until for one in made[:-1])]
        assert (made[-1].until, sum(map(len, made))) == (last, count)


@pytest.mark.one_database
@pytest.mark.parametrize("before", [0, 5])
async def test_ranges_behind_a_gap_are_not_wide(service: Service, database: Database, before: int) -> None:
    """The statements that read them would take too long, and their facts too much memory."""
    await store(service, database, *[("a", "{}")] * before, *[("other", "{}")] * 400, *[("a", "{}")] * 200)
    last = (await stored_events(service, database))[-1][0]

    made = await made_in_ranges(service, database, SeriesDefinition((EventSource("a", ANY),), None), last)

    assert sum(map(len, made)) == before + 200
    assert max(map(len, made)) <= 4 * LARGEST


LARGEST = 9


async def made_in_ranges(
    service: Service, database: Database, definition: SeriesDefinition, until: int
) -> list[MadeFacts]:
    materialization = DirectMaterialization(
        database,
        service.project_id,
        SeriesMatcher(definition),
        asyncio.Semaphore(2),
        ahead=2,
        first=2,
        largest=LARGEST,
        chunk=20,
    )
    return [one async for one in materialization.ranges(0, until)]


async def decide(
    service: Service, database: Database, definition: SeriesDefinition, after: int, until: int
) -> tuple[list[int], list[int]]:
    """Return the events that have a fact by the database alone, and those that it leaves over."""
    async with database.read() as session:
        direct = DirectFactRepository(session, service.project_id)
        decided = await direct.decide(definition, ["", "control", "true"], after, until, carefully=False)
        rows = await direct.left_over(decided.unsure)
    return sorted(decided.columns["sequence"].tolist()), [row[0] for row in rows]


async def made_by_database(
    service: Service, database: Database, definition: SeriesDefinition, variants: Sequence[str]
) -> list[list[KeptFact]]:
    """Return the facts by the database, and by the matcher where it is unsure, unless it refuses some properties."""
    found: list[list[KeptFact]] = []
    for known, carefully in itertools.product([[""], variants], [False, True]):
        async with database.read() as session:
            direct = DirectFactRepository(session, service.project_id)
            try:
                decided = await direct.decide(definition, known, 0, 2**40, carefully=carefully)
            except asyncpg.PostgresError:
                continue
            rows = await direct.left_over(decided.unsure)
        matches = list(SeriesMatcher(definition).match(rows))
        found.append(as_kept(together(decided.columns, known, matches, 0, 2**40)))
    return found


def as_kept(made: MadeFacts) -> list[KeptFact]:
    columns = made.columns
    values = columns["value"] if "value" in columns else np.full(len(made), NO_NUMBER)
    variants = [made.variants[place] for place in columns["variant"].tolist()]
    kept = [columns[name].tolist() for name in ("sequence", "person_id", "time")]
    return sorted(zip(*kept, values.tolist(), variants, strict=True))


async def test_statements_do_not_stay_in_memory_with_their_events(database: Database) -> None:
    """A process keeps the last statements: each of a hundred thousand events would be megabytes."""
    sizes = []
    async with database.read() as session:
        for number in range(3):
            await DirectFactRepository(session, 1).left_over(np.arange(number + 1))
            await EventRepository(session, 1).stored_after(number, number + 1, 10)
            sizes.append(compile_query.cache_info().currsize)

    assert sizes[0] == sizes[1] == sizes[2]


@pytest.mark.parametrize(
    "text", ["it's", "100 %", "%s %(x)s", "$1 :x", "x {y}", "x -- y", "/* é 😀 */", "a''b", "x[y]", "*[^?]"]
)
async def test_texts_mean_themselves_in_statements(service: Service, database: Database, text: str) -> None:
    definition = SeriesDefinition((EventSource(f"{text}\\", parse_filter([{"key": "x", "value": [text]}])),), text)
    passing = json.dumps({"x": text, text: text}, ensure_ascii=False)
    await store(service, database, *[(f"{text}\\", passing)] * 3, (text, passing), (f"{text}\\", '{"x": "other"}'))

    assert is_direct(definition)
    for made in await made_by_database(service, database, definition, ["", text]):
        assert [fact[4] for fact in made] == [text] * 3
    await Materializer(database, direct_from=1).catch_up(service.project_id, [definition])
    assert [fact[4] for fact in await kept_facts(service, database)] == [text] * 3


async def store(service: Service, database: Database, *events: tuple[str, str]) -> None:
    async with database.write() as session:
        await NewEventRepository(session, service.project_id).append(
            [
                NewEvent(uuid4(), name, "ann", number + 1, 1_000 + number, 0, text)
                for number, (name, text) in enumerate(events)
            ]
        )


async def stored_events(service: Service, database: Database) -> Sequence[tuple[int, int, int, str, str]]:
    async with database.read() as session:
        chunk = await EventRepository(session, service.project_id).named_after(None, 0, 2**40, 10_000)
    return [(row[0], row[1], row[2], row[3], row[4]) for row in chunk.rows]


async def kept_facts(service: Service, database: Database) -> list[KeptFact]:
    variant = func.coalesce(SeriesVariant.value, "")
    async with database.read() as session:
        rows = await session.execute(
            select(Fact.sequence, Fact.person_id, Fact.time, func.coalesce(Fact.value, NO_NUMBER), variant)
            .join(Series, Series.id == Fact.series_id)
            .outerjoin(
                SeriesVariant, (SeriesVariant.series_id == Fact.series_id) & (SeriesVariant.code == Fact.variant)
            )
            .where(Series.project_id == service.project_id)
            .order_by(Fact.sequence)
        )
    return [(row[0], row[1], row[2], row[3], row[4]) for row in rows]
