"""Counting results from facts: full and incremental, compared with SQL over the raw JSON and with reading alone.

python -m benchmarks.aggregation [--events 1000000] [--variants 2] [--rounds 3] [--database SQLite]

Prints for the three-step funnel (with conversion times), the total and the persons per day (dau) of page views:
counting all facts (cold), the same counts by SQL over the properties in the same database, the floor (reading the
columns of the facts and doing nothing), the peak memory; then a repeated call with nothing new, and with 1,000 and
100,000 new events since the last one.
"""

import argparse
import asyncio
import itertools
import statistics
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import text

from app.db.database import Database
from app.metrics.counting.fact_query import FactQuery
from app.metrics.counting.service import FactService
from app.metrics.facts.materializer import Materializer
from app.metrics.facts.series_facts import SeriesFacts
from app.metrics.queries.funnel import funnel_fact_query
from app.metrics.queries.parsing import read_funnel, read_trend
from app.metrics.queries.scope import ExperimentScope, buckets
from app.metrics.queries.trend import exposure_2022_fact_query, trend_fact_query
from benchmarks.workload import END, FLAG, START, STEPS, VARIANTS, create_project, databases, generate, load, timed

WINDOW_DAYS = 14
DAY = 24 * 3600 * 1_000_000
VARIANT = {
    "SQLite": f"json_extract(properties, '$.\"$feature/{FLAG}\"')",
    "PostgreSQL": f"properties::json ->> '$feature/{FLAG}'",
}
RESPONSE = {
    "SQLite": "json_extract(properties, '$.\"$feature_flag_response\"')",
    "PostgreSQL": "properties::json ->> '$feature_flag_response'",
}
# From every first step: the next second step, and the next third step after that one; the best start counts. The
# variant is the first one named.
FUNNEL_SQL = """
WITH candidate AS (
  SELECT person_id, time, name, {variant} AS variant FROM event
  WHERE project_id = :project AND name IN ('{first}', '{second}', '{third}') AND time >= :since AND time < :until
), following AS (
  SELECT *,
    MIN(CASE WHEN name = '{second}' THEN time END) OVER later AS second_at,
    MIN(CASE WHEN name = '{third}' THEN time END) OVER later AS third_at,
    FIRST_VALUE(variant) OVER (PARTITION BY person_id ORDER BY CASE WHEN variant IS NULL THEN 1 ELSE 0 END, time)
      AS first_variant
  FROM candidate
  WINDOW later AS (PARTITION BY person_id ORDER BY time DESC ROWS UNBOUNDED PRECEDING)
), chained AS (
  SELECT *,
    MIN(CASE WHEN name = '{second}' THEN third_at END) OVER
      (PARTITION BY person_id ORDER BY time DESC ROWS UNBOUNDED PRECEDING) AS third_after_second
  FROM following
), reached AS (
  SELECT person_id, first_variant, MAX(
    CASE WHEN second_at > time + :window OR second_at IS NULL THEN 1
         WHEN third_after_second > time + :window OR third_after_second IS NULL THEN 2 ELSE 3 END) AS steps
  FROM chained WHERE name = '{first}' GROUP BY person_id, first_variant
)
SELECT first_variant, SUM(1), SUM(CASE WHEN steps > 1 THEN 1 ELSE 0 END), SUM(CASE WHEN steps > 2 THEN 1 ELSE 0 END)
FROM reached WHERE first_variant IN ({variants}) GROUP BY first_variant ORDER BY first_variant
"""
TOTAL_SQL = """
SELECT variant, SUM(n) FROM (
  SELECT {variant} AS variant, (time - :since) / {day} AS day, COUNT(*) AS n FROM event
  WHERE project_id = :project AND name = '$pageview' AND time >= :since AND time < :until GROUP BY 1, 2
) days WHERE variant IN ({variants}) GROUP BY variant ORDER BY variant
"""
DAU_SQL = """
SELECT variant, SUM(n) FROM (
  SELECT variant, (first_time - :since) / {day} AS day, COUNT(*) AS n FROM (
    SELECT {variant} AS variant, person_id, MIN(time) AS first_time FROM event
    WHERE project_id = :project AND name = '$pageview' AND time >= :since AND time < :until GROUP BY 1, 2
  ) persons GROUP BY 1, 2
) days WHERE variant IN ({variants}) GROUP BY variant ORDER BY variant
"""
EXPOSURE_SQL = """
SELECT {response} AS variant, COUNT(DISTINCT person_id) FROM event
WHERE project_id = :project AND name = '$feature_flag_called' AND time >= :since AND time < :until GROUP BY 1
"""


@dataclass(frozen=True)
class Case:
    """One results request: the metrics it counts, and the SQL that counts the same."""

    name: str
    metrics: Sequence[FactQuery[Any]]
    sql: Sequence[str]


def cases(variants: Sequence[str]) -> Iterator[Case]:
    scope = ExperimentScope(FLAG, variants, START, None, END, ZoneInfo("UTC"))
    funnel = read_funnel({"events": [{"id": step, "order": order} for order, step in enumerate(STEPS)]})
    yield Case("funnel", [funnel_fact_query(funnel, scope)], [FUNNEL_SQL])
    for math, sql in (("total", TOTAL_SQL), ("dau", DAU_SQL)):
        trend = read_trend({"events": [{"id": "$pageview", "math": math}]})
        if trend is None:
            raise ValueError("a trend of page views has an event")
        metrics = [trend_fact_query(trend, buckets(scope, trend.interval), scope), exposure_2022_fact_query(scope)]
        yield Case(math, metrics, [sql, EXPOSURE_SQL])


class Run:
    def __init__(self, name: str, database: Database, project_id: int, variants: Sequence[str]) -> None:
        self._name = name
        self._database = database
        self._project_id = project_id
        self._variants = variants
        self._facts = FactService(database, Materializer(database), project_id)

    async def count(self, case: Case, *, recompute: bool = False) -> list[Any]:
        series = await self._facts.catch_up(case.metrics)
        return [await self._facts.count(metric, series, recompute=recompute) for metric in case.metrics]

    async def by_sql(self, case: Case) -> list[list[int]]:
        window = case.metrics[0].window
        bound = {"project": self._project_id, "since": window.since, "until": window.until}
        names = dict(zip(("first", "second", "third"), STEPS, strict=True))
        found = []
        for sql in case.sql:
            statement = sql.format(
                variant=VARIANT[self._name],
                response=RESPONSE[self._name],
                variants=", ".join(f"'{variant}'" for variant in sorted(self._variants)),
                day=DAY,
                **names,
            )
            extra = {"window": WINDOW_DAYS * DAY} if ":window" in statement else {}
            async with self._database.read() as session:
                rows = (await session.execute(text(statement), {**bound, **extra})).all()
            found.append([int(value) for row in sorted(rows) for value in row[1:]])
        return found

    async def read_only(self, case: Case) -> int:
        """Read the columns and do nothing; return the number of facts."""
        series = await self._facts.catch_up(case.metrics)
        count = 0
        async with self._database.snapshot() as session:
            for metric in case.metrics:
                for part in (part for event_set in metric.event_sets for part in event_set.parts):
                    source = SeriesFacts(session, [series.ids[part.series.digest]], metric.variants, metric.columns)
                    [facts] = await source.since(metric.window.since, series.high_water_mark)
                    count += len(facts)
        return count


def agreed(counts: list[Any], variants: Sequence[str]) -> list[list[int]]:
    """Return counts in the order and shape of the SQL."""
    order = sorted(range(len(variants)), key=lambda slot: variants[slot])
    shown = []
    for one in counts:
        table = one.of_variants if hasattr(one, "reached") else one.count.reshape(-1, 1)
        shown.append([int(value) for slot in order for value in table[slot]])
    return shown


async def measure(name: str, database: Database, count: int, variants: Sequence[str], rounds: int) -> None:
    project_id = await create_project(database)
    seconds = await timed(lambda: load(database, project_id, generate(count, variants)), 1)
    print(
        f"\n{name}, {count:,} events, {len(variants)} variants: loaded at {count / seconds:,.0f} events/s", flush=True
    )
    run = Run(name, database, project_id, variants)
    measured = list(cases(variants))
    for case in measured:
        seconds = await timed(partial(run.count, case), 1)
        ours, theirs = agreed(await run.count(case), variants), await run.by_sql(case)
        if ours != theirs:
            raise ValueError(f"{case.name} differs: {ours} from facts, {theirs} from JSON")
        facts = await run.read_only(case)
        cold = await timed(partial(run.count, case, recompute=True), rounds)
        sql = await timed(partial(run.by_sql, case), max(1, rounds // 2))
        floor = await timed(partial(run.read_only, case), rounds)
        highest = await peak(partial(run.count, case, recompute=True))
        print(
            f"  {case.name:7} {facts:9,} facts, first call {seconds:6.1f} s ({facts / seconds:,.0f}/s)"
            f"   counting all {cold * 1000:8.1f} ms"
            f"   SQL over JSON {sql * 1000:9.1f} ms (ratio {cold / sql:.3f})"
            f"   reading alone {floor * 1000:7.1f} ms (ratio {cold / floor:.2f})"
            f"   peak {highest / max(facts, 1):.0f} bytes a fact",
            flush=True,
        )
    later = generate(3 * rounds * (1_000 + 100_000), variants, persons=count // 10, seed=2)
    for new in (0, 1_000, 100_000):
        for case in measured:
            seconds_each = []
            for _ in range(rounds):
                await load(database, project_id, itertools.islice(later, new))
                seconds_each.append(await timed(partial(run.count, case), 1))
            print(
                f"  {case.name:7} {new:7,} new events since: {statistics.median(seconds_each) * 1000:8.1f} ms",
                flush=True,
            )
    for case in measured:
        if agreed(await run.count(case), variants) != agreed(await run.count(case, recompute=True), variants):
            raise ValueError(f"{case.name}: incremental counts differ from recomputed ones")


async def peak(work: Callable[[], Awaitable[object]]) -> int:
    """Return the peak memory of the work in bytes; tracing slows it down, so it is a run of its own."""
    tracemalloc.start()
    await work()
    _, highest = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return highest


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--variants", type=int, default=2, choices=range(2, 11))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--database", choices=["SQLite", "PostgreSQL"])
    arguments = parser.parse_args()
    async with databases() as opened:
        for name, database in opened.items():
            if arguments.database in (None, name):
                await measure(name, database, arguments.events, VARIANTS[: arguments.variants], arguments.rounds)


if __name__ == "__main__":
    asyncio.run(main())
