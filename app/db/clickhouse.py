"""Connections to ClickHouse, which holds what is large and append-only beside PostgreSQL.

Its client is an optional dependency, and is imported when a deployment names a server.
"""

import asyncio
import contextlib
import datetime as dt
import importlib.util
import math
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from app.settings import Settings
from app.telemetry.prometheus import CLICKHOUSE_ERRORS

if TYPE_CHECKING:
    from clickhouse_connect.driver.asyncclient import AsyncClient

_PORTS: Final = {"http": 8123, "https": 8443}
_CONNECTIONS: Final = 20
# Removing rows rewrites all parts that have some.
_LONGEST_REMOVAL: Final = 600.0
_SECONDS_BETWEEN_LOOKS: Final = 0.5
# Codes of transient errors: time, connection, keeper, resources, rights, replication; and missing tables, as long as
# the schema has not been migrated.
_TRANSIENT_CODES: Final = frozenset(
    {60, 81, 159, 160, 164, 192, 193, 194, 198, 202, 203, 209, 210, 225, 241, 242, 243, 244, 252, 279, 285, 286, 289}
    | {305, 319, 335, 369, 394, 425, 439, 516, 999}
)


class ClickHouseUnavailable(ConnectionError):
    """ClickHouse cannot be reached, or cannot do now what it may be able to do later."""


class ClickHouseFailure(RuntimeError):
    """ClickHouse refuses a statement, as it will each time."""


class ClickHouse:
    """The connections of a process, opened when they are first needed: the service starts without the server."""

    def __init__(self, settings: Settings) -> None:
        if settings.clickhouse_url is None:
            raise ValueError("no ABACUS_CLICKHOUSE_URL")
        if importlib.util.find_spec("clickhouse_connect") is None:
            raise ValueError("ABACUS_CLICKHOUSE_URL needs the client of ClickHouse: pip install 'abacus[clickhouse]'")
        url = urlsplit(settings.clickhouse_url)
        interface = "https" if url.scheme in {"https", "clickhouses"} else "http"
        password = settings.clickhouse_password
        self._options: Mapping[str, Any] = {
            "interface": interface,
            "host": url.hostname,
            "port": url.port or _PORTS[interface],
            "username": unquote(url.username or "default"),
            "password": unquote(url.password or "") if password is None else password.get_secret_value(),
            "database": "system",  # there before the first migration; statements name ours
            "autogenerate_session_id": False,  # a session would run one statement at a time
            "connect_timeout": settings.database_pool_timeout,
            "send_receive_timeout": settings.database_statement_timeout,
            "connector_limit_per_host": _CONNECTIONS,
            "compress": "lz4",
        }
        self.database = url.path.strip("/") or "abacus"
        self.cluster = settings.clickhouse_cluster
        days = settings.event_retention_in_postgresql
        self.event_retention = None if days is None else dt.timedelta(days=days)
        self._seconds = settings.database_statement_timeout
        self._quorum = settings.clickhouse_insert_quorum
        self._client: AsyncClient | None = None
        self._lock = asyncio.Lock()
        self._failed_at = -math.inf

    def table(self, name: str) -> str:
        """Return the name of a table that is read, and inserted into."""
        return f"`{self.database}`.{name}"

    @property
    def on_cluster(self) -> str:
        """The clause by which a change of tables reaches all servers of a cluster."""
        return f" ON CLUSTER `{self.cluster}`" if self.cluster else ""

    def stored_table(self, name: str) -> str:
        """Return the name of the table that holds the rows of another one on each server, with the clause for all."""
        return f"`{self.database}`.{name}_local{self.on_cluster}" if self.cluster else self.table(name)

    async def execute(self, statement: str, settings: Mapping[str, object] | None = None) -> object:
        """Run a statement, and return its only value if it has one."""
        async with self._connected() as client:
            return await client.command(statement, settings=dict(settings or {}))

    async def remove(self, table: str, condition: str) -> None:
        """Remove the rows that meet a condition, on all servers, and wait until they are removed.

        Raises
        ------
        ClickHouseUnavailable
            When that takes longer than ``_LONGEST_REMOVAL``. The server goes on with it.
        """
        try:
            await self.execute(
                f"ALTER TABLE {self.stored_table(table)} DELETE WHERE {condition}", {"mutations_sync": 2}
            )
        except OSError:  # which may mean that it takes longer than a statement may
            await self._wait_for_removals(table)
            if await self.execute(f"SELECT count() FROM {self.table(table)} WHERE {condition}"):  # noqa: S608  # as the caller's
                raise

    async def _wait_for_removals(self, table: str) -> None:
        stored = f"{table}_local" if self.cluster else table
        mutations = f"clusterAllReplicas(`{self.cluster}`, system.mutations)" if self.cluster else "system.mutations"
        statement = (
            f"SELECT count() FROM {mutations} WHERE database = {literal(self.database)}"  # noqa: S608  # our own names
            f" AND table = {literal(stored)} AND NOT is_done"
        )
        ends_at = time.monotonic() + _LONGEST_REMOVAL
        while await self.execute(statement):
            if time.monotonic() >= ends_at:
                raise ClickHouseUnavailable(f"rows of {stored} have been being removed for {_LONGEST_REMOVAL:.0f} s")
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)

    async def insert(self, table: str, rows: NDArray[np.void], token: str) -> None:
        """Insert rows of fixed width; those of an equal token are inserted once, as long as the server remembers it."""
        await self._insert(table, list(rows.dtype.names or ()), rows.tobytes(), token)

    async def insert_text(self, table: str, columns: Sequence[str], text: bytes, token: str) -> None:
        """Insert lines of values that are separated by tabs, with backslash escapes; for tokens see ``insert``."""
        await self._insert(table, columns, text, token, "TabSeparated")

    async def insert_selected(self, table: str, columns: str, statement: str) -> None:
        """Insert what a statement selects. It needs no token: the client does not repeat it."""
        # Where both tables are distributed, each server would otherwise keep what it has selected.
        settings = {"insert_deduplicate": 0, "precise_float_parsing": 1, "parallel_distributed_insert_select": 0}
        await self.execute(
            f"INSERT INTO {self.table(table)} ({columns}) {statement}",
            {**self._read_settings(), **self._safety_settings(), **settings},
        )

    async def rows(self, statement: str) -> Sequence[tuple[Any, ...]]:
        """Return the rows that a statement selects."""
        async with self._connected() as client:
            found = await client.query(statement, settings=self._read_settings())
        return await asyncio.to_thread(lambda: [tuple(row) for row in found.result_rows])

    async def columns(self, statement: str, names: Sequence[str]) -> Mapping[str, NDArray[Any]]:
        """Return the columns of fixed width that a statement selects, by the names they are given."""
        async with self._connected() as client:
            stream = await client.query_column_block_stream(statement, settings=self._read_settings())
            async with stream:
                blocks = [[np.asarray(column) for column in block] async for block in stream]
        return await asyncio.to_thread(_concatenate, blocks, names)

    async def version(self) -> str:
        """Return the version of the server."""
        return str(await self.execute("SELECT version()"))

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _insert(self, table: str, names: Sequence[str], body: bytes, token: str, form: str = "RowBinary") -> None:
        packed = await asyncio.to_thread(_compressed, body)
        async with self._connected() as client:
            await client.raw_insert(
                self.table(table), names, packed, fmt=form, compression="lz4", settings=self._insert_settings(token)
            )

    def _insert_settings(self, token: str) -> dict[str, object]:
        return {"insert_deduplication_token": token, "async_insert": 0, **self._safety_settings()}

    def _safety_settings(self) -> dict[str, object]:
        """Return the settings under which an insert is acknowledged once it is where it has to be."""
        settings: dict[str, object] = {}
        if self.cluster:
            # Otherwise rows wait on the disk of the server that took them, acknowledged, for a way to their shard.
            settings["distributed_foreground_insert"] = 1
        if self._quorum:
            settings["insert_quorum"] = self._quorum
        return settings

    def _read_settings(self) -> dict[str, object]:
        return {"max_execution_time": self._seconds, "max_query_size": 2**24}

    async def _connect(self, asked_at: float) -> "AsyncClient":
        """Connect; those who waited for an attempt that failed fail with it."""
        if asked_at < self._failed_at:
            raise ClickHouseUnavailable("ClickHouse could not be reached")
        try:
            return await _connect(self._options)
        except Exception:
            self._failed_at = time.monotonic()
            raise

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator["AsyncClient"]:
        try:
            with _translated():
                asked_at = time.monotonic()
                async with self._lock:
                    if self._client is None:
                        self._client = await self._connect(asked_at)
                yield self._client
        except OSError:
            CLICKHOUSE_ERRORS.inc()
            raise


def literal(value: str | int) -> str:
    """Return a text or a number as it is written in a statement."""
    if isinstance(value, int):
        return f"{value:d}"
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _compressed(body: bytes) -> bytes:
    import lz4.frame  # noqa: PLC0415  # comes with the client, which is an extra

    packed: bytes = lz4.frame.compress(body)
    return packed


def _concatenate(blocks: Sequence[Sequence[NDArray[Any]]], names: Sequence[str]) -> Mapping[str, NDArray[Any]]:
    if not blocks:
        return {name: np.empty(0, np.int64) for name in names}
    return {name: np.concatenate([block[place] for block in blocks]) for place, name in enumerate(names)}


async def _connect(options: Mapping[str, Any]) -> "AsyncClient":
    import clickhouse_connect  # noqa: PLC0415  # an extra, which deployments without ClickHouse lack

    return await clickhouse_connect.get_async_client(**options)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Raise errors of the client as ours: what is transient is an ``OSError`` for everything above."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        import aiohttp  # noqa: PLC0415  # comes with the client, which is an extra
        from clickhouse_connect.driver.exceptions import ClickHouseError  # noqa: PLC0415  # as above

        if isinstance(error, aiohttp.ClientError):
            raise ClickHouseUnavailable(str(error)) from error
        if not isinstance(error, ClickHouseError):
            raise
        code = getattr(error, "code", None)
        if code is None or code in _TRANSIENT_CODES:
            raise ClickHouseUnavailable(str(error)) from error
        raise ClickHouseFailure(str(error)) from error
