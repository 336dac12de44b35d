"""ClickHouse makes the same facts of archived events as the matcher does."""

import datetime as dt
from collections.abc import Sequence

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select

from app.db import clickhouse_flags, clickhouse_schema
from app.db.clickhouse import ClickHouse, ClickHouseUnavailable
from app.db.clickhouse_schema import STEPS
from app.db.database import Database
from app.db.models import ClickHouseMigration, SeriesVariant
from app.events.archive.archiver import EventArchiver
from app.events.history import EventHistory
from app.metrics.counting.service import FactService
from app.metrics.facts import clickhouse_matching, clickhouse_materialization
from app.metrics.facts.matching import SeriesMatcher
from app.metrics.facts.materializer import Materializer
from app.metrics.facts.series import EventSource, SeriesDefinition
from app.properties.filters import parse_filter
from tests.conftest import new_service
from tests.metrics.counting.test_incremental import shown
from tests.metrics.facts.test_clickhouse import METRICS, visits
from tests.metrics.facts.test_direct_facts import ANY, KEY, broken, documents, store, stored_events
from tests.support.examples import examples
from tests.support.service import Service, event
from tests.support.striking import Striking

pytestmark = [
    pytest.mark.clickhouse("always"),
    pytest.mark.parametrize("database_url", ["clickhouse"], indirect=True),
]

NOW = dt.timedelta(0)
# Sequence number, person, time, value and variant of each fact.
_FACTS = "SELECT sequence, person, time, value, variant FROM {} WHERE series = {} ORDER BY sequence"


@pytest.fixture
def there(database: Database) -> ClickHouse:
    assert database.clickhouse is not None
    return database.clickhouse


@pytest.fixture(autouse=True)
def without_excuse(monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement that the engine refuses is a failure here, and not left to the matcher."""
    monkeypatch.setattr(clickhouse_materialization, "ClickHouseFailure", NotImplementedError)


values = st.sampled_from(
    ["control", "\\", '"', "1", "1.5", "true", "false", "null", "", "é 😀", "a\\b", "1e3", "0", "[1]"]
)
conditions = st.builds(
    lambda key, operator, value: {"key": key, "operator": operator, "value": value},
    st.sampled_from([KEY, "other"]),
    st.sampled_from(["exact", "is_not", "icontains", "not_icontains", "is_set", "is_not_set"]),
    values,
) | st.builds(
    lambda key, operator, value: {"key": key, "operator": operator, "value": value},
    st.sampled_from([KEY, "other"]),
    st.sampled_from(["gt", "lt", "regex", "not_regex"]),
    st.sampled_from(["0", "1", "1.5"]),
)
filters = st.lists(conditions, max_size=2).map(parse_filter)
definitions = st.builds(
    lambda first, second, variant, value: SeriesDefinition(
        (EventSource("a", first), EventSource(second[0], second[1])), variant, value
    ),
    filters,
    st.tuples(st.sampled_from(["a", "c", "it's \\ \n", None]), filters),
    st.sampled_from([None, KEY, "other"]),
    st.sampled_from([None, KEY, "other"]),
)
large = st.sampled_from(
    [f'{{"{KEY}": {"[" * 600}{"]" * 600}}}', f'{{"{KEY}": "{"x" * 900}"}}', f'\ufeff{{"{KEY}": 1}}']
)
happened = st.tuples(
    st.sampled_from(["a", "b", "c", "it's \\ \n"]), st.one_of(documents, documents, documents, documents, broken, large)
)


@pytest.mark.parametrize("by_flags", [True, False])
@settings(max_examples=examples(30), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(happened=st.lists(happened, min_size=1, max_size=20), definitions=st.lists(definitions, min_size=1, max_size=3))
async def test_facts_of_archived_events_are_those_of_the_matcher(
    client: httpx.AsyncClient,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    by_flags: bool,
    happened: list[tuple[str, str]],
    definitions: list[SeriesDefinition],
) -> None:
    service = await new_service(client, database)
    await store(service, database, *happened)
    events = await stored_events(service, database)
    expected = {one.digest: [match[:5] for match in SeriesMatcher(one).match(events)] for one in definitions}
    await archive(service, database)
    monkeypatch.setattr(clickhouse_materialization, "_MOST_UNSURE", 1e9)
    if not by_flags:
        monkeypatch.setattr(clickhouse_materialization, "is_flag_property", lambda _: False)

    ids = (await Materializer(database, direct_from=1).catch_up(service.project_id, definitions)).ids

    for digest, series_id in ids.items():
        assert await kept_facts(database, series_id) == expected[digest]


@pytest.mark.everything
@pytest.mark.parametrize("is_done_first", [False, True])
async def test_whatever_statement_fails_every_archived_event_is_counted_once(
    service: Service, database: Database, there: ClickHouse, monkeypatch: pytest.MonkeyPatch, is_done_first: bool
) -> None:
    await service.capture(*visits(10), *visits(5, "control", "bob \\"), event("visit", "cleo", properties={"a": [1]}))
    await archive(service, database)
    monkeypatch.setattr(clickhouse_materialization, "_FIRST_RANGE", 7)
    striking = Striking(there, monkeypatch, is_done_first=is_done_first)
    failures = place = 0
    while failures == place:
        facts = FactService(database, Materializer(database, direct_from=1), service.project_id)
        await facts.remove_unused([], older_than=dt.timedelta(0))
        try:
            with striking.at(place):
                counts = await facts.counts(METRICS)
        except ClickHouseUnavailable:
            failures += 1
            counts = await facts.counts(METRICS)
        recounted = await facts.counts(METRICS, recompute=True)
        assert repr([shown(one) for one in counts]) == repr([shown(one) for one in recounted])
        assert int(counts[1].values.sum()) == 15
        place += 1
    assert failures >= 8


async def test_clickhouse_makes_facts_of_what_it_has_and_the_matcher_those_of_the_rest(
    service: Service, database: Database, made: list[int]
) -> None:
    definition = SeriesDefinition((EventSource("visit", ANY),), "$feature/checkout", "amount")
    await service.capture(*visits(9), event("visit", "dan", properties={"$feature/checkout": ["control"], "amount": 2}))
    await archive(service, database)
    await service.capture(*visits(4, "control", "eve"))
    expected = [match[:5] for match in SeriesMatcher(definition).match(await history(service, database))]

    [series_id] = (await Materializer(database, direct_from=1).catch_up(service.project_id, [definition])).ids.values()

    assert await kept_facts(database, series_id) == expected
    assert len(expected) == 14
    assert made == [9]  # not the one whose variant is a list


async def test_more_combinations_than_are_listed_are_matched_in_python(
    service: Service, database: Database, made: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clickhouse_matching, "MAX_COMBINATIONS", 3)
    monkeypatch.setattr(clickhouse_materialization, "MAX_COMBINATIONS", 3)
    few = SeriesDefinition((EventSource("visit", ANY),), "$feature/checkout", "amount")
    many = SeriesDefinition((EventSource("visit", ANY),), "amount")
    await service.capture(*visits(9))
    await archive(service, database)

    ids = (await Materializer(database, direct_from=1).catch_up(service.project_id, [few, many])).ids

    assert [len(await kept_facts(database, ids[one.digest])) for one in (few, many)] == [9, 9]
    assert made == [9]


async def test_events_that_were_archived_before_the_column_of_flags_make_the_same_facts(
    service: Service, database: Database, there: ClickHouse, made: list[int]
) -> None:
    definition = SeriesDefinition((EventSource("visit", ANY),), "$feature/checkout", None)
    await there.execute(f"ALTER TABLE {there.table('event')} DROP COLUMN {clickhouse_flags.COLUMN}")
    await service.capture(*visits(9))
    await archive(service, database)
    async with database.write() as session:
        await session.execute(delete(ClickHouseMigration).where(ClickHouseMigration.number == len(STEPS)))
    await clickhouse_schema.migrate(database)
    await service.capture(*visits(4, "control", "eve"))
    await archive(service, database)
    expected = [match[:5] for match in SeriesMatcher(definition).match(await history(service, database))]

    [series_id] = (await Materializer(database, direct_from=1).catch_up(service.project_id, [definition])).ids.values()

    assert await kept_facts(database, series_id) == expected
    assert (len(expected), made) == (13, [13])


async def test_flags_of_which_the_column_tells_too_little_are_read_from_the_properties(
    service: Service, database: Database, made: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clickhouse_materialization, "_FEW", 2)
    definition = SeriesDefinition((EventSource("visit", ANY),), "$feature/checkout", None)
    await service.capture(*visits(5), *(event("visit", "dan", properties={"$feature/checkout": 7}) for _ in range(4)))
    await archive(service, database)

    [series_id] = (await Materializer(database, direct_from=1).catch_up(service.project_id, [definition])).ids.values()

    assert [variant for *_, variant in await kept_facts(database, series_id)] == ["test"] * 5 + ["7"] * 4
    assert made == [9]


async def test_range_of_which_the_facts_could_not_be_made_is_smaller_the_next_time(
    service: Service, database: Database, there: ClickHouse, made: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have taken longer than a statement may, as it would each time."""
    monkeypatch.setattr(clickhouse_materialization, "_FIRST_RANGE", 16)
    monkeypatch.setattr(clickhouse_materialization, "_SMALLEST_RANGE", 1)
    monkeypatch.setattr(clickhouse_materialization, "_QUICK", 0.0)
    definition = SeriesDefinition((EventSource("visit", ANY),), "$feature/checkout", None)
    await service.capture(*visits(12))
    await archive(service, database)
    materializer = Materializer(database, direct_from=1)

    async def slow(statement: str) -> object:
        raise ClickHouseUnavailable(f"timeout exceeded: {statement}")

    with monkeypatch.context() as patched:
        patched.setattr(there, "rows", slow)
        with pytest.raises(ClickHouseUnavailable):
            await materializer.catch_up(service.project_id, [definition])
    await materializer.catch_up(service.project_id, [definition])

    assert (sum(made), max(made)) == (12, 4)


async def test_facts_of_events_that_clickhouse_has_lost_are_made_of_those_in_postgresql(
    service: Service, database: Database, there: ClickHouse
) -> None:
    """A backup that is too old was restored, and the events have not left PostgreSQL yet."""
    await service.capture(*visits(9))
    await archive(service, database, dt.timedelta(days=1))
    await there.remove("event", f"project = {service.project_id} AND name = 'visit'")

    facts = FactService(database, Materializer(database, direct_from=1), service.project_id)
    [_, counts] = await facts.counts(METRICS)

    assert int(counts.values.sum()) == 9


@pytest.fixture
def made(there: ClickHouse, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many facts ClickHouse has made, statement by statement."""
    found: list[int] = []
    insert = there.insert_selected

    async def noted(table: str, columns: str, statement: str) -> None:
        found.append(int(str(await there.execute(f"SELECT count() FROM ({statement})"))))
        await insert(table, columns, statement)

    monkeypatch.setattr(there, "insert_selected", noted)
    return found


async def archive(service: Service, database: Database, retention: dt.timedelta = NOW) -> None:
    assert database.clickhouse is not None
    async for _ in EventArchiver(database, database.clickhouse, service.project_id).steps(retention):
        pass


async def history(service: Service, database: Database) -> Sequence[tuple[int, int, int, str, str]]:
    chunk = await EventHistory(database, service.project_id).named_after(None, 0, 2**40, 10_000)
    here = await stored_events(service, database)
    there = [(one[0], one[1], one[2], one[3], one[4]) for one in chunk.rows]
    return sorted({*there, *here})


async def kept_facts(database: Database, series_id: int) -> list[tuple[int, int, int, float, str]]:
    there = database.clickhouse
    assert there is not None
    async with database.read() as session:
        rows = await session.execute(
            select(SeriesVariant.code, SeriesVariant.value).where(SeriesVariant.series_id == series_id)
        )
        texts = {0: "", **{row.code: row.value for row in rows}}
    found = await there.rows(_FACTS.format(there.table("fact"), series_id))
    return [(*row[:4], texts[row[4]]) for row in found]
