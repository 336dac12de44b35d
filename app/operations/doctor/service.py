"""The checks of `abacus doctor`: each yields a finding, with a remedy if the check failed."""

import datetime as dt
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx

from app.accounts.projects.repository import AccountRepository
from app.db import clickhouse_schema
from app.db.clickhouse import ClickHouse
from app.db.database import Database
from app.db.migrations import Revisions, SchemaTooNew
from app.events.archive.repository import ArchiveRepository
from app.events.repository import EventRepository
from app.operations.doctor import storage
from app.operations.doctor.repository import ServerRepository
from app.settings import Settings

OLDEST_SERVER: Final = 140_000
# Counting tolerates a minute between the clocks of processes; the check fails at half of that.
MAX_CLOCK_SKEW_SECONDS: Final = 30.0
# Many proxies limit bodies to one megabyte by default, and batches of events are larger.
BODY_BYTES: Final = 2 * 1024 * 1024
# Below, an SQLite database has little room to grow, and none to be copied or compacted.
LEAST_FREE_BYTES: Final = 1024**3


@dataclass(frozen=True)
class Finding:
    """The result of a check; ``remedy`` says how to fix a failure and is empty if the check passed."""

    subject: str
    detail: str
    remedy: str = ""


class Doctor:
    """Checks the database that the settings name, and the address by which clients reach the service."""

    def __init__(self, settings: Settings, database: Database, client: httpx.AsyncClient, url: str | None) -> None:
        self._settings = settings
        self._database = database
        self._client = client
        self._url = url.rstrip("/") if url else None

    async def examine(self) -> AsyncIterator[Finding]:
        """Run all checks and yield their findings."""
        reached = await self._reach_database()
        yield reached
        if not reached.remedy:
            schema = await self._compare_schema()
            yield schema
            if self._settings.uses_sqlite:
                for finding in self._look_at_file():
                    yield finding
            else:
                async for finding in self._look_at_server():
                    yield finding
            if self._database.clickhouse is not None:
                yield await self._look_at_clickhouse(self._database.clickhouse)
                if self._database.clickhouse.event_retention is not None:
                    yield await self._look_at_archive()
            elif not schema.remedy and await self._lacks_clickhouse():
                yield Finding(
                    "clickhouse",
                    "events or facts are in ClickHouse, which the settings do not name",
                    "Set ABACUS_CLICKHOUSE_URL as the other processes have it.",
                )
        if self._url is None:
            yield Finding("address", "not checked: set ABACUS_PUBLIC_URL, or pass --url")
            return
        answers = await self._call()
        yield answers
        if not answers.remedy:
            yield await self._compare_prefix()
            yield await self._send_much()

    async def _reach_database(self) -> Finding:
        started = time.perf_counter()
        try:
            async with self._database.read() as session:
                await ServerRepository(session).ping()
        except Exception as error:  # any error is what the operator has to know
            reason = str(error).partition("\n")[0] or type(error).__name__
            return Finding("database", reason, "Check ABACUS_DATABASE_URL, the network and the log of the server.")
        milliseconds = (time.perf_counter() - started) * 1000
        return Finding("database", f"{self._settings.url.get_backend_name()} responded in {milliseconds:.0f} ms")

    async def _compare_schema(self) -> Finding:
        async with self._database.read() as session:
            server = ServerRepository(session)
            revision, missing = await server.revision(), await server.missing_tables()
        stored = frozenset({revision} if revision else ())
        ours = Revisions.of(self._settings)
        if ours.are_exceeded_by(stored):
            if missing:
                return Finding("schema", str(SchemaTooNew(missing)), "Start the newer version.")
            return Finding(
                "schema",
                f"newer than this program ({revision}), which is allowed while an older image is still running",
            )
        if ours.are_met_by(stored):
            return Finding("schema", f"up to date ({revision})")
        newest = ", ".join(sorted(ours.heads))
        return Finding("schema", f"at {revision or 'no revision'}, but {newest} is required", "Run `abacus migrate`.")

    async def _look_at_server(self) -> AsyncIterator[Finding]:
        async with self._database.read() as session:
            before = dt.datetime.now(dt.UTC)
            server = await ServerRepository(session).server()
            after = dt.datetime.now(dt.UTC)
        version = f"PostgreSQL {server.version // 10_000}.{server.version % 10_000}"
        yield Finding(
            "version", version, "" if server.version >= OLDEST_SERVER else "Upgrade to PostgreSQL 14 or newer."
        )
        skew = abs((server.now - (before + (after - before) / 2)).total_seconds())
        yield Finding(
            "clock",
            f"{skew:.1f} s between this machine and the server",
            "" if skew <= MAX_CLOCK_SKEW_SECONDS else "Synchronize the clocks of both machines by NTP.",
        )
        own = 2 * self._settings.database_pool_size + 1  # for probes
        allowed = int(server.settings["max_connections"])
        yield Finding(
            "connections",
            f"{own} per worker of each replica, max_connections is {allowed}",
            "" if own < allowed else "Raise max_connections, or lower ABACUS_DATABASE_POOL_SIZE.",
        )
        async with self._database.read() as session:
            yield Finding("size", f"the database has {_write_size(await ServerRepository(session).size())}")
        loose = [name for name in ("fsync", "full_page_writes", "synchronous_commit") if server.settings[name] == "off"]
        yield Finding(
            "durability",
            f"{', '.join(loose)} off: acknowledged events can be lost" if loose else "a commit survives a crash",
            f"Turn {' and '.join(loose)} on." if loose else "",
        )

    async def _look_at_clickhouse(self, clickhouse: ClickHouse) -> Finding:
        try:
            version = await clickhouse.version()
            is_migrated = await clickhouse_schema.is_migrated(self._database)
        except Exception as error:  # any error is what the operator has to know
            reason = str(error).partition("\n")[0] or type(error).__name__
            return Finding("clickhouse", reason, "Check ABACUS_CLICKHOUSE_URL, the network and the log of ClickHouse.")
        if not is_migrated:
            return Finding("clickhouse", f"{version}, without all of its tables", "Run `abacus migrate`.")
        return Finding("clickhouse", f"{version}, with all of its tables")

    async def _lacks_clickhouse(self) -> bool:
        async with self._database.read() as session:
            return await ServerRepository(session).has_data_in_clickhouse()

    async def _look_at_archive(self) -> Finding:
        async with self._database.read() as session:
            waiting = 0
            for project in await AccountRepository(session).projects():
                state = await ArchiveRepository(session, project.id).get()
                waiting += await EventRepository(session, project.id).count_after(state.archived_until if state else 0)
        return Finding("archive", f"{waiting:,} events are not in ClickHouse yet")

    def _look_at_file(self) -> Iterator[Finding]:
        path = Path(self._settings.url.database or "").absolute()
        yield Finding("size", f"the database has {_write_size(storage.stored_bytes(path))}")
        free = storage.free_bytes(path)
        yield Finding(
            "disk",
            f"{_write_size(free)} free at {path.parent}",
            "" if free >= LEAST_FREE_BYTES else "Free some room: without it no event can be stored.",
        )
        others = storage.other_processes(path)
        numbers = ", ".join(map(str, others))
        opened = f"open in {len(others)} other process{'' if len(others) == 1 else 'es'}"
        yield Finding(
            "workers",
            f"{opened}{f' ({numbers})' if others else ''}",
            "SQLite supports one worker: stop the others, or use PostgreSQL." if len(others) > 1 else "",
        )

    async def _call(self) -> Finding:
        """Call the service as a client would; the echoed request id proves that Abacus responded."""
        name = f"doctor-{uuid.uuid4().hex}"
        try:
            response = await self._client.get(f"{self._url}/_readyz", headers={"X-Request-ID": name})
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            return Finding("address", f"{self._url}: {reason}", "Check the name, the certificate and the proxy.")
        if response.headers.get("X-Request-ID") != name:
            return Finding(
                "address",
                f"{self._url}/_readyz responded with {response.status_code}, but not by Abacus",
                "Let the proxy forward requests below this address, with X-Request-ID in both directions.",
            )
        if not response.is_success:
            return Finding(
                "address", f"the service is not ready: {response.text[:200]}", "Fix the component that is false above."
            )
        return Finding("address", f"{self._url} reaches this service, and it is ready")

    async def _compare_prefix(self) -> Finding:
        document = (await self._client.get(f"{self._url}/openapi.json")).json()
        servers = document.get("servers") or [{"url": ""}]
        configured = servers[0]["url"].rstrip("/")
        used = urlsplit(self._url or "").path
        if configured == used:
            return Finding("prefix", f"links begin with {used or '/'}")
        return Finding(
            "prefix",
            f"clients use {used or '/'}, but the service is configured for {configured or '/'}",
            f"Set ABACUS_PUBLIC_URL={self._url}, or start with `abacus serve --root-path {used or '/'}`.",
        )

    async def _send_much(self) -> Finding:
        """Send a large batch without a token; the error code shows whether the service or a proxy refused it."""
        body = b'{"batch": [{"event": "doctor", "distinct_id": "doctor"}]}' + b" " * BODY_BYTES
        try:
            response = await self._client.post(
                f"{self._url}/batch/", content=body, headers={"Content-Type": "application/json"}
            )
            is_ours = response.json()["code"] == "missing_api_key"
            reason = f"the proxy refuses a body of {BODY_BYTES // 1024**2} MiB with {response.status_code}"
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            is_ours = False
            reason = f"a body of {BODY_BYTES // 1024**2} MiB fails ({type(error).__name__})"
        if is_ours:
            return Finding("large bodies", f"a body of {BODY_BYTES // 1024**2} MiB is accepted")
        return Finding("large bodies", reason, "Let the proxy accept 21 MiB (nginx: client_max_body_size 21m).")


def _write_size(size: int) -> str:
    if size < 1024**2:
        return f"{size / 1024:.0f} KiB"
    return f"{size / 1024**2:.0f} MiB" if size < 1024**3 else f"{size / 1024**3:.1f} GiB"
