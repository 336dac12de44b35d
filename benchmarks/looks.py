"""Looks at typed metrics and their breakdowns: from all facts, with 1,000 new events, and with nothing new.

python -m benchmarks.looks [--persons 100000] [--database SQLite] [--values 50]

Persons are exposed once, and some buy, on 30 days. It prints processor time of the process, which other work disturbs
less than time does, beside that of a mean of the same events.
"""

import argparse
import asyncio
import datetime as dt
import time
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

import msgspec
import numpy as np

from app.common.timestamps import to_microseconds
from app.db.database import Database
from app.events.appending.repository import NewEvent
from benchmarks.in_process import forget_counts, serving
from benchmarks.workload import END, FLAG, START, VARIANTS, databases, load
from tests.support.service import Service

PURCHASE = {"kind": "EventsNode", "event": "purchase"}
REVENUE = {**PURCHASE, "math": "sum", "math_property": "amount"}
METRICS: Mapping[str, Mapping[str, Any]] = {
    "mean": {"metric_type": "mean", "source": REVENUE},
    "sessions": {"metric_type": "mean", "source": {**PURCHASE, "math": "unique_session"}},
    "capped": {"metric_type": "mean", "source": REVENUE, "upper_bound_percentile": 0.99, "ignore_zeros": True},
    "matured": {"metric_type": "mean", "source": REVENUE, "conversion_window": 7},
    "median": {"metric_type": "quantile", "quantile_level": 0.5, "ignore_zeros": True, "source": REVENUE},
    "median of events": {
        "metric_type": "quantile",
        "quantile_level": 0.5,
        "quantile_type": "event",
        "source": {**PURCHASE, "math_property": "amount"},
    },
}
LOOKS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    **{name: (name, {}) for name in METRICS},
    "mean, by a property of the exposure": ("mean", {"breakdown": "place"}),
    "mean, by a property of its events": ("mean", {"breakdown": "place", "breakdown_by": "metric"}),
    "median, by a property of the exposure": ("median", {"breakdown": "place"}),
    "capped, by a property of its events": ("capped", {"breakdown": "place", "breakdown_by": "metric"}),
}


def events_of(first: int, persons: int, values: int, seed: int) -> Iterator[NewEvent]:
    """Yield an exposure for each person, and a purchase for every second one on average, in the order of arrival."""
    generator = np.random.default_rng(seed)
    start, length = to_microseconds(START), to_microseconds(END) - to_microseconds(START)
    shown = np.sort(generator.integers(0, length, persons))
    buys = np.repeat(np.arange(persons), generator.poisson(generator.gamma(0.5, 1.0, persons)))
    moments = np.minimum(shown[buys] + generator.integers(0, 14 * 86_400_000_000, len(buys)), length - 1)
    amounts, places = np.round(generator.lognormal(3, 1, len(buys)), 2), generator.zipf(1.5, persons) % values
    rows: list[tuple[int, int, float | None]] = [(moment, number, None) for number, moment in enumerate(shown.tolist())]
    rows += zip(moments.tolist(), buys.tolist(), amounts.tolist(), strict=True)
    for moment, number, amount in sorted(rows, key=lambda row: row[0]):
        person = first + number
        properties: dict[str, Any] = {"place": f"place {places[number]}", "$session_id": f"{person} {moment // 10**10}"}
        if amount is None:
            properties |= {"$feature_flag": FLAG, "$feature_flag_response": VARIANTS[person % 2]}
        else:
            properties["amount"] = amount
        yield NewEvent(
            uuid=UUID(bytes=generator.bytes(16), version=4),
            name="purchase" if amount is not None else "$feature_flag_called",
            distinct_id=f"person-{person}",
            person_id=person,
            time=start + moment,
            received_at=start,
            properties=msgspec.json.encode(properties).decode(),
        )


async def measure(name: str, database: Database, persons: int, values: int) -> None:
    async with serving(database) as service:
        await load(database, service.project_id, events_of(1, persons, values + 20, 1))
        print(f"{name}: {persons:,} exposed persons; milliseconds of processor time")
        print(f"{'':40} {'from facts':>11} {'1,000 new':>11} {'nothing new':>12}")
        arrived = persons
        for look, (metric, query) in LOOKS.items():
            path = await begin(service, METRICS[metric], is_matured=metric == "matured")
            limit = {"limit": str(values)} if query else {}
            await service.read(path, **query, **limit)  # makes the facts
            await forget_counts(database)
            taken = []
            for new in (10, 700, 0):
                if new:
                    await load(database, service.project_id, events_of(arrived + 1, new, values + 20, arrived))
                    arrived += new
                taken.append(await spent(service, path, {**query, **limit}))
            print(f"  {look:38} {taken[0]:11.0f} {taken[1]:11.0f} {taken[2]:12.1f}", flush=True)


async def begin(service: Service, metric: Mapping[str, Any], *, is_matured: bool) -> str:
    made = await service.create_experiment(
        feature_flag_key=FLAG,
        allow_existing_flag=True,
        start_date=START.isoformat(),
        end_date=(END + dt.timedelta(days=1)).isoformat(),
        filters={},
        metrics=[metric],
        only_count_matured_users=is_matured,
    )
    return f"/experiments/{made['id']}/analysis/"


async def spent(service: Service, path: str, query: Mapping[str, str]) -> float:
    started = time.process_time()
    await service.read(path, **query)
    return (time.process_time() - started) * 1000


async def run(persons: int, name: str, values: int) -> None:
    async with databases(name) as opened:
        await measure(name, opened[name], persons, values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--persons", type=int, default=100_000)
    parser.add_argument("--values", type=int, default=50, help="of the property that is broken down by")
    parser.add_argument("--database", default="SQLite", choices=["SQLite", "PostgreSQL"])
    arguments = parser.parse_args()
    asyncio.run(run(arguments.persons, arguments.database, arguments.values))


if __name__ == "__main__":
    main()
