"""Connections and transactions: sessions that read and sessions that write."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVarTuple

from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.pool import QueuePool

from app.db.compiled_queries import fetch
from app.db.engines import Limits, create_engine, create_reading_engine
from app.settings import Settings

logger = logging.getLogger("abacus")

Columns = TypeVarTuple("Columns")


CommitListener: TypeAlias = Callable[[Mapping[Any, Any]], None]  # gets what repositories noted in ``session.info``


class Database:
    """Two pools of connections, and the four ways in which the service uses them.

    Most requests only read, one or two rows by key. Their connections are in autocommit mode and are handed out without
    a question to the server, which makes them several times cheaper than transactions.

    PostgreSQL lets any number of transactions write. SQLite has one writer: there, ``write`` waits for its turn inside
    the process (a fair queue instead of SQLite's sleeping retries) and starts with ``BEGIN IMMEDIATE``, so that a
    transaction that reads before it writes cannot lose an update.
    """

    def __init__(self, settings: Settings) -> None:
        limits = Limits.of(settings)
        self.engine = create_engine(settings, limits)
        self.reading_engine = create_reading_engine(settings, limits)
        self.is_sqlite = settings.uses_sqlite
        self._is_pooled_outside = settings.database_pgbouncer and not settings.uses_sqlite
        self._writer_lock = asyncio.Lock()
        self._writer_lock_timeout = settings.database_statement_timeout
        self._readers = async_sessionmaker(self.reading_engine, expire_on_commit=False)
        snapshots = self.engine if self.is_sqlite else self.engine.execution_options(isolation_level="REPEATABLE READ")
        self._snapshots = async_sessionmaker(snapshots, expire_on_commit=False)
        self._writers = async_sessionmaker(self.engine.execution_options(writes=True), expire_on_commit=False)
        self._derived_writers = async_sessionmaker(
            self.engine.execution_options(writes=True, synchronous_commit=False), expire_on_commit=False
        )
        self._listeners: list[CommitListener] = []
        # Whoever counts takes one and holds at most one connection of each pool. However many ask, two of each are left
        # to those who send events, ask for flags or change something.
        self.aggregation_slots = asyncio.Semaphore(max(1, settings.database_pool_size - 2))

    def on_commit(self, listener: CommitListener) -> None:
        """Have a listener told of every commit of this process, with the ``info`` of the session that made it."""
        self._listeners.append(listener)

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """Yield a session that cannot write, and each of whose queries sees what is committed by then."""
        async with self._readers() as session:
            yield session

    async def fetch(self, query: Select[*Columns], parameters: Mapping[str, object]) -> Sequence[tuple[*Columns]]:
        """Return the rows of one query, which gets a connection for just as long as it runs.

        For the queries that nearly every request makes: see ``app.db.compiled_queries``.
        """
        return await fetch(self.reading_engine, query, parameters, in_transaction=self._is_pooled_outside)

    @contextlib.asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncSession]:
        """Yield a reading session all of whose queries see the same moment."""
        async with self._snapshots.begin() as session:
            yield session

    @contextlib.asynccontextmanager
    async def write(self, *, durable: bool = True) -> AsyncIterator[AsyncSession]:
        """Yield a session whose transaction is committed on return and rolled back when the block raises.

        Not to be nested: on SQLite the second one would wait for the first.

        A commit that is not ``durable`` does not wait for the disk. It is for derived rows, which can be computed again
        from what others have committed: a loss of power may undo the last of these transactions, each as a whole and in
        their order.
        """
        sessions = self._writers if durable else self._derived_writers
        async with self._hold_writer_lock(), sessions.begin() as session:
            yield session
        for listener in self._listeners:
            try:
                listener(session.info)
            except Exception:  # the transaction is committed: its request must not fail any more
                logger.exception("commit listener failed")

    @contextlib.asynccontextmanager
    async def _hold_writer_lock(self) -> AsyncIterator[None]:
        if not self.is_sqlite:
            yield
            return
        async with asyncio.timeout(self._writer_lock_timeout):
            await self._writer_lock.acquire()
        try:
            yield
        finally:
            self._writer_lock.release()

    def pools(self) -> Mapping[str, tuple[int, int]]:
        """Return how many connections of each pool are in use, and how many may be."""
        engines = {"reading": self.reading_engine, "writing": self.engine}
        pools = {name: engine.sync_engine.pool for name, engine in engines.items()}
        return {name: (pool.checkedout(), pool.size()) for name, pool in pools.items() if isinstance(pool, QueuePool)}

    async def close(self) -> None:
        await self.engine.dispose()
        await self.reading_engine.dispose()
