"""Aggregation: a three-step funnel from facts (columns read, numpy), beside SQL over the raw JSON for the same counts.

python -m benchmarks.aggregation [--events 200000] [--rounds 5]
"""

import argparse
import asyncio
import datetime as dt
from zoneinfo import ZoneInfo

from sqlalchemy import text

from app.database import Database
from app.facts.materialise import Materialiser
from app.facts.service import FactService
from app.results.funnel import count_funnel
from app.results.queries import ExperimentScope, read_funnel
from benchmarks.workload import END, FLAG, START, STEPS, databases, load, timed

WINDOW_DAYS = 14
JSON_TEXT = {
    "SQLite": f"json_extract(properties, '$.\"$feature/{FLAG}\"')",
    "PostgreSQL": f"properties::json ->> '$feature/{FLAG}'",
}
# From every first step: the next second step, and the next third step after that one; the best start counts. The
# variant is the first one named.
SQL = """
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
FROM reached WHERE first_variant IN ('control', 'test') GROUP BY first_variant ORDER BY first_variant
"""


async def measure(name: str, database: Database, count: int, rounds: int) -> None:
    project_id = await load(database, count)
    facts = FactService(database, Materialiser(database), project_id)
    scope = ExperimentScope(FLAG, ("control", "test"), START, END, dt.datetime.now(dt.UTC), ZoneInfo("UTC"))
    query = read_funnel({"events": [{"id": step, "order": order} for order, step in enumerate(STEPS)]})
    watches = [scope.watch(step) for step in query.steps]
    await facts.materialise(watches)

    async def from_facts() -> list[list[int]]:
        columns = await facts.columns(watches, scope.window, scope.variants)
        counts = await asyncio.to_thread(count_funnel, query, columns, 2)
        return [[int(count) for count in row] for row in counts.reached]

    statement = text(SQL.format(variant=JSON_TEXT[name], first=STEPS[0], second=STEPS[1], third=STEPS[2]))
    bound = {
        "project": project_id,
        "since": scope.window.since,
        "until": scope.window.until,
        "window": WINDOW_DAYS * 24 * 3600 * 1_000_000,
    }

    async def from_json() -> list[list[int]]:
        async with database.read() as session:
            return [[int(count) for count in row[1:]] for row in await session.execute(statement, bound)]

    ours, theirs = await from_facts(), await from_json()
    if ours != theirs:
        raise ValueError(f"the counts differ: {ours} from facts, {theirs} from JSON")
    seconds, baseline = await timed(from_facts, rounds), await timed(from_json, rounds)
    print(
        f"{name:10} {count:,} events, counts {ours}   facts {seconds * 1000:7.1f} ms (with conversion times)"
        f"   SQL over JSON {baseline * 1000:8.1f} ms   ratio {seconds / baseline:.3f}"
    )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    async with databases() as opened:
        for name, database in opened.items():
            await measure(name, database, arguments.events, arguments.rounds)


if __name__ == "__main__":
    asyncio.run(main())
