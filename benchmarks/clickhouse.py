"""A funnel of three steps from facts in PostgreSQL, from facts in ClickHouse, and by SQL in the same ClickHouse.

python -m benchmarks.clickhouse [--events 1000000] [--rounds 3]

The peer is SQL over a table of events whose properties are columns already, sorted by day and name, in the form
that PostHog gave such a question in 2022. ClickHouse is the engine of the tests (chDB) behind an HTTP server in
Python, which costs it some time for every statement: read the ratios.
"""

import argparse
import asyncio
import itertools
import statistics
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from sqlalchemy import text

from app.db.clickhouse import ClickHouse
from app.db.database import Database
from benchmarks.aggregation import DAY, WINDOW_DAYS, Run, agreed, cases
from benchmarks.workload import FLAG, STEPS, VARIANTS, create_project, databases, generate, load, timed

TWO = VARIANTS[:2]
NEW = (0, 1_000)
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
            row = await session.execute(text("SELECT count(*), pg_total_relation_size('fact') FROM fact"))
            count, size = row.one()
            return int(count), int(size)
    await there.execute(f"OPTIMIZE TABLE {there.table('fact')} FINAL")
    parts = f"FROM system.parts WHERE active AND database = '{there.database}' AND table = 'fact'"
    found = await there.columns(f"SELECT sum(rows) AS n, sum(bytes_on_disk) AS size {parts}", ("n", "size"))
    return int(found["n"][0]), int(found["size"][0])


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    async with databases("PostgreSQL", "ClickHouse") as opened:
        for name, database in opened.items():
            folder = Path("/tmp")  # noqa: S108  # our own machine
            await measure(name, database, arguments.events, arguments.rounds, folder)


if __name__ == "__main__":
    asyncio.run(main())
