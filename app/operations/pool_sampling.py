"""Samples connection pools and event loop delay for the metrics."""

import asyncio

from app.db.database import Database
from app.telemetry.prometheus import CONNECTIONS, LOOP_DELAY, MOST_CONNECTIONS

INTERVAL_SECONDS = 5.0


def sample(database: Database) -> None:
    """Record how many connections of each pool are in use."""
    for name, (in_use, limit) in database.pools().items():
        CONNECTIONS.labels(name).set(in_use)
        MOST_CONNECTIONS.labels(name).set(limit)


async def keep_sampling(database: Database) -> None:
    """Sample until cancelled, in every worker: a scrape is answered by one worker and reports on all of them."""
    loop = asyncio.get_running_loop()
    while True:
        sample(database)
        due = loop.time() + INTERVAL_SECONDS
        await asyncio.sleep(INTERVAL_SECONDS)
        LOOP_DELAY.set(loop.time() - due)
