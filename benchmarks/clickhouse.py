"""A funnel of three steps from facts in PostgreSQL, from facts in ClickHouse, and by SQL in the same ClickHouse.

python -m benchmarks.clickhouse [--events 1000000] [--rounds 3] | --beside 1000000 | --history 10000000
    | --facts 50000000

The peer is SQL over a table of events whose properties are columns already, sorted by day and name, in the form
that PostHog gave such a question in 2022. ``--history`` puts all events into ClickHouse at once, as if they had left
PostgreSQL, and asks the peer of ``benchmarks.peer`` in the same engine, too: "peer, materialized". ``--beside`` copies
events to ClickHouse while others are stored, and holds both against each of them alone, in turns. ClickHouse is the
engine of the tests (chDB) behind an HTTP server in Python, which costs it some time for every statement: read the
ratios.
"""

import argparse
import asyncio
import datetime as dt
import itertools
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from sqlalchemy import text

from app.common.timestamps import to_microseconds
from app.db.clickhouse import ClickHouse
from app.db.database import Database
from app.db.models import EventArchive, SeriesVariant
from app.events.appending.repository import NewEventRepository
from app.events.archive.archiver import EventArchiver
from app.events.archive.pace import ArchivePace
from app.events.archive.store import EVENT_COLUMNS
from app.metrics.counting.service import FactService
from app.metrics.facts.materializer import Materializer
from benchmarks.aggregation import DAY, WINDOW_DAYS, Run, agreed, cases
from benchmarks.peer import JOINED, TABLES, queries
from benchmarks.workload import FLAG, START, STEPS, VARIANTS, create_project, databases, generate, load, timed

TWO = VARIANTS[:2]
NEW = (0, 1_000)
SECONDS_BESIDE = 6.0
FOR_EVER = dt.timedelta(days=36_500)
PEER = """
CREATE TABLE peer (team UInt32, name LowCardinality(String), person Int64, time Int64, variant String)
ENGINE = MergeTree PARTITION BY toYYYYMM(fromUnixTimestamp64Micro(time))
ORDER BY (team, toDate(fromUnixTimestamp64Micro(time)), name, cityHash64(person))
"""
_STEPS = """
SELECT person, time, argMinIf(variant, time, variant != '') OVER (PARTITION BY person) AS first_variant,
  name = '{0}' AS is_first,
  if(name = '{1}', time, NULL) AS second, if(name = '{2}', time, NULL) AS third
FROM peer WHERE team = 1 AND name IN ('{0}', '{1}', '{2}')
"""
_LATER = "OVER (PARTITION BY person ORDER BY time DESC ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
FUNNEL = f"""
SELECT first_variant, count(), countIf(steps > 1), countIf(steps > 2) FROM (
  SELECT person, first_variant, max(multiIf(
    second_at IS NULL OR second_at > time + {{window}}, 1,
    third_at IS NULL OR third_at > time + {{window}}, 2, 3)) AS steps
  FROM (
    SELECT *, min(third_after) {_LATER} AS third_at FROM (
      SELECT *, min(second) {_LATER} AS second_at,
        if(second IS NULL, NULL, min(third) {_LATER}) AS third_after
      FROM ({_STEPS})
    )
  ) WHERE is_first GROUP BY person, first_variant
) WHERE first_variant != '' GROUP BY first_variant ORDER BY first_variant
"""


async def peer(clickhouse: ClickHouse, database: Database, folder: Path) -> None:
    """Copy all events into the table of the peer."""
    async with database.read() as session:
        rows = await session.execute(
            text(f"SELECT name, person_id, time, properties::json ->> '$feature/{FLAG}' FROM event")
        )
        with (folder / "peer.tsv").open("w") as file:
            file.writelines(
                f"1\t{name}\t{person}\t{moment}\t{variant or ''}\n" for name, person, moment, variant in rows
            )
    await clickhouse.execute(PEER.replace("TABLE peer", f"TABLE {clickhouse.table('peer')}"))
    await clickhouse.execute(
        f"INSERT INTO {clickhouse.table('peer')} FROM INFILE '{folder}/peer.tsv' FORMAT TabSeparated"
    )
    await clickhouse.execute(f"OPTIMIZE TABLE {clickhouse.table('peer')} FINAL")


async def measure(name: str, database: Database, count: int, rounds: int, folder: Path) -> None:
    project_id = await create_project(database)
    await load(database, project_id, generate(count, TWO))
    run, [case, *_] = Run("PostgreSQL", database, project_id, TWO), list(cases(TWO))
    first = await timed(partial(run.count, case), 1)
    facts, bytes_of_facts = await sizes(database)
    print(f"{name:11} {facts:,} facts, {bytes_of_facts / facts:.0f} bytes each; made at {count / first:,.0f} events/s")
    cold = await timed(partial(run.count, case, recompute=True), rounds)
    print(f"{name:11} counting all facts {cold * 1000:8.0f} ms", flush=True)
    later = generate(rounds * sum(NEW), TWO, persons=count // 10, seed=2)
    for new in NEW:
        print(f"{name:11} {new:,} new events {await with_new(run, database, project_id, later, new, rounds):8.1f} ms")
    if agreed(await run.count(case), TWO) != agreed(await run.count(case, recompute=True), TWO):
        raise ValueError("incremental counts differ from recomputed ones")
    if database.clickhouse is not None:
        await peer(database.clickhouse, database, folder)
        statement = FUNNEL.format(*STEPS, window=WINDOW_DAYS * DAY).replace("peer", database.clickhouse.table("peer"))
        names = ("variant", "first", "second", "third")
        found = await database.clickhouse.columns(statement, names)
        theirs = [[int(found[step][row]) for row in range(len(TWO)) for step in names[1:]]]
        if theirs != agreed(await run.count(case), TWO):
            raise ValueError(f"the peer counts {theirs}, we {agreed(await run.count(case), TWO)}")
        seconds = await timed(lambda: database.clickhouse.columns(statement, names), rounds)  # type: ignore[union-attr]
        print(f"peer        {seconds * 1000:8.0f} ms; counting all facts takes {cold / seconds:.2f} of that")
        await move_events(database, project_id, count, rounds)


async def move_events(database: Database, project_id: int, count: int, rounds: int) -> None:
    """Move all events to ClickHouse, while others are stored, and make the facts of the funnel from there."""
    there, run, [case, *_] = database.clickhouse, Run("ClickHouse", database, project_id, TWO), list(cases(TWO))
    if there is None:
        raise ValueError("no ClickHouse")

    async def move(retention: dt.timedelta) -> None:
        async for _ in EventArchiver(database, there, project_id).steps(retention):
            pass

    count += await copy_beside(database, there, project_id, rounds)
    await move(FOR_EVER)
    print(f"events      {count / await timed(partial(move, dt.timedelta(0)), 1):,.0f} a second leave PostgreSQL")
    rows, size = await stored_in(there, "event")
    [[length]] = await there.rows(f"SELECT avg(length(properties)) FROM {there.table('event')}")
    print(f"events      {size / rows:.0f} bytes each, with properties of {length:.0f} bytes")
    await FactService(database, Materializer(database), project_id).remove_unused([], older_than=dt.timedelta(0))
    first = await timed(partial(run.count, case), 1)
    print(
        f"events      first answer from there {first * 1000:,.0f} ms, {count / first:,.0f} events a second", flush=True
    )


async def copy_beside(database: Database, there: ClickHouse, project_id: int, rounds: int) -> int:
    """Store events and copy others, each alone and both together; return how many were stored."""
    paces: dict[str, Callable[[], ArchivePace | None]]
    paces = {"at the pace of the service": ArchivePace, "at full speed": lambda: None}
    later = generate(10_000_000, TWO, seed=3)
    copied, appended = 0, 0
    alone: dict[str, list[float]] = {"stored": [], "copied": []}
    shares: dict[str, list[tuple[float, float]]] = {name: [] for name in paces}

    def report(events: int) -> None:
        nonlocal copied
        copied += events

    async def copy(pace: ArchivePace | None, ended: asyncio.Event) -> None:
        async for _ in EventArchiver(database, there, project_id, report, pace=pace).steps(FOR_EVER):
            if ended.is_set():
                return
        raise ValueError("there are too few events to copy: ask for more")

    async def store_for(seconds: float) -> float:
        nonlocal appended
        first, began = appended, time.perf_counter()
        while time.perf_counter() < began + seconds:
            async with database.write() as session:
                appended += await NewEventRepository(session, project_id).append(list(itertools.islice(later, 1_000)))
        return (appended - first) / (time.perf_counter() - began)

    async def store_alone() -> float:
        await merges_end(there)
        await store_for(SECONDS_BESIDE)  # the first seconds after a pause are faster than all others
        return await store_for(SECONDS_BESIDE)

    for _ in range(rounds):
        for name, pace in paces.items():
            first = await store_alone()
            before, ended = copied, asyncio.Event()
            copying, began = asyncio.create_task(copy(pace(), ended)), time.perf_counter()
            stored = await store_for(SECONDS_BESIDE)
            ended.set()
            await copying
            rate = (copied - before) / (time.perf_counter() - began)
            alone["stored"].append((first + await store_alone()) / 2)
            shares[name].append((stored / alone["stored"][-1], rate / alone["stored"][-1]))
        await merges_end(there)
        began, before, ended = time.perf_counter(), copied, asyncio.Event()
        ended.set()
        await copy(None, ended)
        alone["copied"].append((copied - before) / (time.perf_counter() - began))
    stored, rate = (statistics.median(alone[name]) for name in ("stored", "copied"))
    print(f"events      {stored:,.0f} a second are stored in batches of 1,000 by themselves")
    print(f"events      {rate:,.0f} a second are copied by themselves, {rate / stored:.2f} of that")
    for name, ratios in shares.items():
        keeps, share = (statistics.median(column) for column in zip(*ratios, strict=True))
        print(f"events      copied {name}: {share:.2f} of that, while {keeps:.2f} of it are stored", flush=True)
    return appended


async def merges_end(there: ClickHouse) -> None:
    """Wait until ClickHouse does nothing by itself that would be taken for a part of what is measured next."""
    for _ in range(600):
        if not await there.execute("SELECT count() FROM system.merges"):
            return
        await asyncio.sleep(0.1)


async def answer_from_history(database: Database, count: int, rounds: int, folder: Path) -> None:
    """Answer from events that are in ClickHouse only, and hold that against the peers in the same engine."""
    there, [case, *_] = database.clickhouse, list(cases(TWO))
    if there is None:
        raise ValueError("no ClickHouse")
    project_id = await create_project(database)
    run = Run("ClickHouse", database, project_id, TWO)
    await fill_history(database, there, project_id, count, folder)
    rows, size = await stored_in(there, "event")
    print(f"events      {rows:,}, {size / rows:.0f} bytes each", flush=True)
    first = await timed(partial(run.count, case), 1)
    facts, bytes_of_facts = await stored_in(there, "fact")
    print(f"facts       {facts:,}, {bytes_of_facts / facts:.1f} bytes each")
    cold = await timed(partial(run.count, case, recompute=True), rounds)
    print(f"first       {first * 1000:8.0f} ms\nrecount     {cold * 1000:8.0f} ms", flush=True)
    for name, statements in (await peers(there)).items():

        async def ask(statements: Sequence[str] = statements) -> None:
            for statement in statements:
                await there.execute(statement)

        seconds = await timed(ask, rounds)
        print(f"{name:11} {seconds * 1000:8.0f} ms: first {first / seconds:.2f}, recount {cold / seconds:.2f} of that")
    later = generate(rounds * sum(NEW), TWO, persons=count // 10, seed=2)
    for new in NEW:
        print(f"{new:5,} new   {await with_new(run, database, project_id, later, new, rounds):8.1f} ms", flush=True)


async def fill_history(database: Database, there: ClickHouse, project_id: int, count: int, folder: Path) -> None:
    """Put events into ClickHouse as if they had been copied there, and had left PostgreSQL then."""
    source, events = folder / "events.tsv", enumerate(generate(count, TWO), start=1)
    while some := list(itertools.islice(events, 500_000)):
        with source.open("w") as file:
            file.writelines(
                f"{sequence}\t{project_id}\t{one.uuid}\t{one.name}\t{one.distinct_id}\t{one.person_id}\t{one.time}"
                f"\t{one.received_at}\t{one.properties}\n"
                for sequence, one in some
            )
        columns = ", ".join(EVENT_COLUMNS)
        await there.execute(
            f"INSERT INTO {there.table('event')} ({columns}) FROM INFILE '{source}' FORMAT TabSeparated"
        )
    source.unlink()
    async with database.write() as session:
        marks = dict.fromkeys(("archived_until", "sending_until", "released_until"), count)
        session.add(EventArchive(project_id=project_id, **marks))
        await session.execute(text(f"SELECT setval(pg_get_serial_sequence('event', 'sequence'), {count})"))
    await load(database, project_id, generate(1, TWO, persons=count // 10, seed=4))


async def peers(there: ClickHouse) -> dict[str, list[str]]:
    """Make the tables of both peers from the events; return the statements of their answers."""
    variant = f"JSONExtractString(properties, '$feature/{FLAG}')"
    await there.execute(PEER.replace("TABLE peer", f"TABLE {there.table('peer')}"))
    await there.execute(
        f"INSERT INTO {there.table('peer')} SELECT 1, name, person, time, {variant} FROM {there.table('event')}"
    )
    tables = {"event": there.table("peer_event"), "person_of": there.table("peer_person_of")}
    for statement in TABLES:
        for name, table in tables.items():
            statement = statement.replace(f"TABLE {name} ", f"TABLE {table} ")  # noqa: PLW2901
        await there.execute(statement.replace("{flag}", FLAG))
    await there.execute(
        f"INSERT INTO {tables['event']} (uuid, event, properties, timestamp, team_id, distinct_id, person_id)"
        " SELECT uuid, name, properties, fromUnixTimestamp64Micro(time, 'UTC'), 1, distinct_id, person"
        f" FROM {there.table('event')}"
    )
    await there.execute(
        f"INSERT INTO {tables['person_of']} SELECT DISTINCT team_id, distinct_id, person_id FROM {tables['event']}"
    )
    for table in (there.table("peer"), *tables.values()):
        await there.execute(f"OPTIMIZE TABLE {table} FINAL")
    by_columns = FUNNEL.format(*STEPS, window=WINDOW_DAYS * DAY).replace("peer", there.table("peer"))
    materialized = [
        one.replace("FROM event", f"FROM {tables['event']}").replace("FROM person_of", f"FROM {tables['person_of']}")
        for one in queries()[f"funnel, {JOINED}"]
    ]
    return {"columns": [by_columns], "peer, mat.": materialized}


async def recount(database: Database, count: int) -> None:
    """Count facts that ClickHouse makes up, and tell the time and the memory that takes."""
    there, [case, *_] = database.clickhouse, list(cases(TWO))
    if there is None:
        raise ValueError("no ClickHouse")
    project_id, [metric] = await create_project(database), case.metrics
    facts = FactService(database, Materializer(database), project_id)
    series = await facts.catch_up([metric])
    async with database.write() as session:
        session.add_all(
            SeriesVariant(series_id=series_id, code=code, value=value)
            for series_id in series.ids.values()
            for code, value in enumerate(TWO, start=1)
        )
    ids = ", ".join(str(one) for one in series.ids.values())
    since, seconds = to_microseconds(START), 30 * 24 * 3600
    for first in range(0, count, 5_000_000):
        await there.execute(
            f"INSERT INTO {there.table('fact')} (project, series, person, time, sequence, variant, value) SELECT 1,"
            f" arrayElement([{ids}], number % 3 + 1), intHash64(number) % {count // 10},"
            f" {since} + intDiv(number * {seconds} * 1000, {count}) * 1000, number + 1, intHash64(number) % 2 + 1, -inf"
            f" FROM numbers({first}, {min(5_000_000, count - first)})"
        )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    series = replace(series, high_water_mark=count, last_event_sequences=dict.fromkeys(series.ids, count))
    taken = await timed(lambda: facts.count(metric, series, recompute=True), 1)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{count:,} facts recounted in {taken:.1f} s; {(after - before) / 1024:.0f} MB more than {before / 1024:.0f} MB"
    )


async def with_new(
    run: Run, database: Database, project_id: int, later: Iterable[object], new: int, rounds: int
) -> float:
    """Return the median milliseconds of a call after so many new events."""
    [case, *_], seconds = list(cases(TWO)), []
    for _ in range(rounds):
        await load(database, project_id, itertools.islice(later, new))  # type: ignore[arg-type]
        seconds.append(await timed(partial(run.count, case), 1))
    return statistics.median(seconds) * 1000


async def sizes(database: Database) -> tuple[int, int]:
    """Return how many facts there are, and the bytes that they take."""
    if (there := database.clickhouse) is None:
        async with database.read() as session:
            row = await session.execute(text("SELECT count(*), pg_total_relation_size('series_fact') FROM series_fact"))
            count, size = row.one()
            return int(count), int(size)
    return await stored_in(there, "fact")


async def stored_in(there: ClickHouse, table: str) -> tuple[int, int]:
    """Return how many rows a table in ClickHouse has, and the bytes that they take."""
    await there.execute(f"OPTIMIZE TABLE {there.table(table)} FINAL")
    parts = f"FROM system.parts WHERE active AND database = '{there.database}' AND table = '{table}'"
    found = await there.columns(f"SELECT sum(rows) AS n, sum(bytes_on_disk) AS size {parts}", ("n", "size"))
    return int(found["n"][0]), int(found["size"][0])


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--beside", type=int, help="only copy that many events while others are stored")
    parser.add_argument("--history", type=int, help="only answer from that many events in ClickHouse")
    parser.add_argument("--facts", type=int, help="only recount that many facts, and tell the memory that takes")
    arguments = parser.parse_args()
    is_one = arguments.beside or arguments.history or arguments.facts
    only = ("ClickHouse",) if is_one else ("PostgreSQL", "ClickHouse")
    async with databases(*only) as opened:
        if arguments.beside:
            database, there = opened["ClickHouse"], opened["ClickHouse"].clickhouse
            if there is None:
                raise ValueError("no ClickHouse")
            project_id = await create_project(database)
            await load(database, project_id, generate(arguments.beside, TWO))
            await copy_beside(database, there, project_id, arguments.rounds)
            return
        if arguments.history:
            with tempfile.TemporaryDirectory() as folder:
                await answer_from_history(opened["ClickHouse"], arguments.history, arguments.rounds, Path(folder))
            return
        if arguments.facts:
            await recount(opened["ClickHouse"], arguments.facts)
            return
        for name, database in opened.items():
            with tempfile.TemporaryDirectory() as folder:
                await measure(name, database, arguments.events, arguments.rounds, Path(folder))


if __name__ == "__main__":
    asyncio.run(main())
