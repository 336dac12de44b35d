"""Sessions and transactions: reading, snapshots, writing, and commit listeners."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Hashable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVarTuple

from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.pool import QueuePool

from app.common.fair_slots import FairSlots
from app.db.clickhouse import ClickHouse
from app.db.compiled_queries import fetch
from app.db.engines import Limits, create_engine, create_reading_engine
from app.settings import Settings

logger = logging.getLogger("abacus")

Columns = TypeVarTuple("Columns")


CommitListener: TypeAlias = Callable[
    [Mapping[Any, Any]], None
]  # takes ``session.info``, where repositories leave notes


class Database:
    """Two connection pools, the connections to ClickHouse if any, and the four ways in which the service uses them.

    Most requests only read one or two rows by key. Their connections are in autocommit mode and are checked out without
    a round trip, which makes them several times cheaper than transactions.

    PostgreSQL allows any number of concurrent writers. SQLite has one: there, ``write`` waits for its turn in the
    process (a queue that is fair to projects, instead of SQLite's sleeping retries) and starts with ``BEGIN
    IMMEDIATE``, so that a transaction that reads before it writes cannot lose an update.
    """

    def __init__(self, settings: Settings) -> None:
        limits = Limits.of(settings)
        self.engine = create_engine(settings, limits)
        self.reading_engine = create_reading_engine(settings, limits)
        self.clickhouse = ClickHouse(settings) if settings.clickhouse_url else None
        self.is_sqlite = settings.uses_sqlite
        self._is_pooled_outside = settings.database_pgbouncer and not settings.uses_sqlite
        self._writer = FairSlots(1)
        self._writer_timeout = settings.database_statement_timeout
        self._readers = async_sessionmaker(self.reading_engine, expire_on_commit=False)
        snapshots = self.engine if self.is_sqlite else self.engine.execution_options(isolation_level="REPEATABLE READ")
        self._snapshots = async_sessionmaker(snapshots, expire_on_commit=False)
        self._writers = async_sessionmaker(self.engine.execution_options(writes=True), expire_on_commit=False)
        self._derived_writers = async_sessionmaker(
            self.engine.execution_options(writes=True, synchronous_commit=False), expire_on_commit=False
        )
        self._listeners: list[CommitListener] = []
        # An aggregation takes a slot and at most one connection of each pool. So two connections of each are left for
        # capture, flags and changes, however many aggregations run. What takes one of them beside these runs one or two
        # at a time: facts that are stored after they were counted, searches, and batches of uploaded files. Projects
        # share the slots fairly.
        slots = max(1, settings.database_pool_size - 2)
        self.aggregation_slots = FairSlots(slots)
        self.background_slots = asyncio.Semaphore(max(1, slots - 1))
        # A search through thousands of rows computes more than it waits: two at a time would be no faster, and each
        # holds a connection. Projects take turns.
        self.search_slots = FairSlots(1)

    def on_commit(self, listener: CommitListener) -> None:
        """Call a listener after every commit of this process, with the ``info`` of the session.

        It runs when the transaction is committed already: its exceptions are logged and not raised.
        """
        self._listeners.append(listener)

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """Yield a read-only session, each of whose queries sees what is committed by then."""
        async with self._readers() as session:
            yield session

    async def fetch(self, query: Select[*Columns], parameters: Mapping[str, object]) -> Sequence[tuple[*Columns]]:
        """Return the rows of one query, on a connection that is returned at once.

        It is for the queries that nearly every request makes: see ``app.db.compiled_queries``.
        """
        return await fetch(self.reading_engine, query, parameters, in_transaction=self._is_pooled_outside)

    @contextlib.asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncSession]:
        """Yield a read-only session whose queries all see the same snapshot."""
        async with self._snapshots.begin() as session:
            yield session

    @contextlib.asynccontextmanager
    async def write(self, *, durable: bool = True, owner: Hashable = None) -> AsyncIterator[AsyncSession]:
        """Yield a session whose transaction is committed on return and rolled back when the block raises.

        It cannot be nested: on SQLite the inner one would wait for the outer.

        A commit that is not ``durable`` does not wait for the disk. It is for derived rows, which can be computed again
        from durable ones: a power failure may undo the latest of these transactions, each completely and in order.

        Where writers wait for each other, an ``owner`` (a project, or its token) with many transactions does not delay
        others by more than one of them.
        """
        sessions = self._writers if durable else self._derived_writers
        async with self._be_writer(owner), sessions.begin() as session:
            yield session
        for listener in self._listeners:
            try:
                listener(session.info)
            except Exception:  # the transaction is committed: the request must not fail
                logger.exception("commit listener failed")

    @contextlib.asynccontextmanager
    async def _be_writer(self, owner: Hashable) -> AsyncIterator[None]:
        if not self.is_sqlite:
            yield
            return
        async with contextlib.AsyncExitStack() as stack:
            async with asyncio.timeout(self._writer_timeout):
                await stack.enter_async_context(self._writer.slot(owner))
            yield

    def pools(self) -> Mapping[str, tuple[int, int]]:
        """Return the number of connections in use, and the limit, of each pool."""
        engines = {"reading": self.reading_engine, "writing": self.engine}
        pools = {name: engine.sync_engine.pool for name, engine in engines.items()}
        return {name: (pool.checkedout(), pool.size()) for name, pool in pools.items() if isinstance(pool, QueuePool)}

    def forget_statements(self) -> None:
        """Forget the statements that are compiled: each is kept with the values of its first execution."""
        for engine in (self.engine, self.reading_engine):
            engine.clear_compiled_cache()

    async def close(self) -> None:
        await self.engine.dispose()
        await self.reading_engine.dispose()
        if self.clickhouse is not None:
            await self.clickhouse.close()
