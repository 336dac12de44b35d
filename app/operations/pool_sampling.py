"""Looks at what nobody reports by itself."""

import asyncio

from app.db.database import Database
from app.telemetry.prometheus import CONNECTIONS, LOOP_DELAY, MOST_CONNECTIONS

INTERVAL_SECONDS = 5.0


def sample(database: Database) -> None:
    """Note how busy the pools of this process are."""
    for name, (in_use, limit) in database.pools().items():
        CONNECTIONS.labels(name).set(in_use)
        MOST_CONNECTIONS.labels(name).set(limit)


async def keep_sampling(database: Database) -> None:
    """Sample until cancelled: with several workers, a scrape is answered by one of them and is about all."""
    loop = asyncio.get_running_loop()
    while True:
        sample(database)
        due = loop.time() + INTERVAL_SECONDS
        await asyncio.sleep(INTERVAL_SECONDS)
        LOOP_DELAY.set(loop.time() - due)
