"""A time series of 90 days beside one cold answer of results, from the same facts, through HTTP inside the process.

python -m benchmarks.scorecard [--events 1000000] [--database SQLite] [--rounds 3]
"""

import argparse
import asyncio
import datetime as dt
from collections.abc import Sequence

from app.db.database import Database
from benchmarks.in_process import forget_counts, serving
from benchmarks.workload import END, FLAG, STEPS, VARIANTS, databases, generate, load, timed
from tests.support.service import Service

DAYS = 90
FUNNEL = {"insight": "FUNNELS", "events": [{"id": step, "order": order} for order, step in enumerate(STEPS)]}
TREND = {"insight": "TRENDS", "events": [{"id": "$pageview"}]}


async def measure(name: str, database: Database, events: int, rounds: int) -> None:
    async with serving(database) as service:
        await load(database, service.project_id, generate(events))
        split = [{"key": key, "rollout_percentage": 50} for key in VARIANTS[:2]]
        made = await service.create_experiment(
            feature_flag_key=FLAG,
            start_date=(END - dt.timedelta(days=DAYS)).isoformat(),
            end_date=END.isoformat(),
            filters=FUNNEL,
            secondary_metrics=[{"name": "Page views", "filters": TREND}],
            parameters={"feature_flag_variants": split},
        )
        address = f"/experiments/{made['id']}"
        print(f"{name}, {events:,} events of {events // 10:,} persons, {DAYS} days")
        for metric in ("primary", "secondary-0"):
            if metric != "primary":
                await service.patch(f"{address}/", {"filters": TREND})
            await report(service, database, address, metric, rounds)


async def report(service: Service, database: Database, address: str, metric: str, rounds: int) -> None:
    async def series() -> None:
        await forget_counts(database)
        await service.read(f"{address}/timeseries_results/")

    async def results() -> None:
        await forget_counts(database)
        await service.read(f"{address}/results/")

    await results()  # makes the facts
    await series()
    cold, whole = await timed(results, rounds), await timed(series, rounds)
    name = "funnel" if metric == "primary" else "trend"
    print(f"  {name:7} results {cold * 1000:8.1f} ms   time series {whole * 1000:8.1f} ms   ratio {whole / cold:.2f}")


async def run(events: int, names: Sequence[str], rounds: int) -> None:
    async with databases(*names) as opened:
        for name, database in opened.items():
            await measure(name, database, events, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--database", action="append", choices=["SQLite", "PostgreSQL"])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    asyncio.run(run(arguments.events, arguments.database or ["SQLite", "PostgreSQL"], arguments.rounds))


if __name__ == "__main__":
    main()
