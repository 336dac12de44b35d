"""The checks, each of which says what it found, and what to do where that is a fault."""

import datetime as dt
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import httpx

from app.db.database import Database
from app.db.migrations import Revisions
from app.operations.doctor.repository import ServerRepository
from app.settings import Settings

OLDEST_SERVER: Final = 140_000
# Counting allows for a minute between the clocks of processes; half of it is where one should begin to worry.
MOST_SECONDS_APART: Final = 30.0
# Proxies of old stop at one megabyte unless they are told otherwise, and batches of events are larger.
BODY_BYTES: Final = 2 * 1024 * 1024


@dataclass(frozen=True)
class Finding:
    """What a check found; ``remedy`` says what to do about a fault and is empty where all is well."""

    subject: str
    detail: str
    remedy: str = ""


class Doctor:
    """Looks at the database that the settings name, and at the address by which clients reach the service."""

    def __init__(self, settings: Settings, database: Database, client: httpx.AsyncClient, url: str | None) -> None:
        self._settings = settings
        self._database = database
        self._client = client
        self._url = url.rstrip("/") if url else None

    async def examine(self) -> AsyncIterator[Finding]:
        """Yield one finding after the other."""
        reached = await self._reach_database()
        yield reached
        if not reached.remedy:
            yield await self._compare_schema()
            if not self._settings.uses_sqlite:
                async for finding in self._look_at_server():
                    yield finding
        if self._url is None:
            yield Finding("address", "not looked at: set ABACUS_PUBLIC_URL, or name it with --url")
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
        except Exception as error:  # whatever it is, it is what the operator has to know
            said = str(error).partition("\n")[0] or type(error).__name__
            return Finding("database", said, "Check ABACUS_DATABASE_URL, the network and the server's log.")
        milliseconds = (time.perf_counter() - started) * 1000
        return Finding("database", f"{self._settings.url.get_backend_name()} answers after {milliseconds:.0f} ms")

    async def _compare_schema(self) -> Finding:
        async with self._database.read() as session:
            revision = await ServerRepository(session).revision()
        stored = frozenset({revision} if revision else ())
        ours = Revisions.of(self._settings)
        if ours.are_exceeded_by(stored):
            return Finding("schema", f"newer than this program ({revision}): fine while an older image serves on")
        if ours.are_met_by(stored):
            return Finding("schema", f"up to date ({revision})")
        newest = ", ".join(sorted(ours.heads))
        return Finding("schema", f"at {revision or 'nothing'}, but {newest} is needed", "Run `abacus migrate`.")

    async def _look_at_server(self) -> AsyncIterator[Finding]:
        async with self._database.read() as session:
            before = dt.datetime.now(dt.UTC)
            server = await ServerRepository(session).server()
            after = dt.datetime.now(dt.UTC)
        version = f"PostgreSQL {server.version // 10_000}.{server.version % 10_000}"
        yield Finding("version", version, "" if server.version >= OLDEST_SERVER else "Use PostgreSQL 14 or newer.")
        apart = abs((server.now - (before + (after - before) / 2)).total_seconds())
        yield Finding(
            "clock",
            f"{apart:.1f} s between this machine and the server",
            "" if apart <= MOST_SECONDS_APART else "Let both machines keep time by NTP.",
        )
        own = 2 * self._settings.database_pool_size + 1  # for probes
        allowed = int(server.settings["max_connections"])
        yield Finding(
            "connections",
            f"{own} for each worker of each replica, {allowed} allowed",
            "" if own < allowed else "Raise max_connections, or lower ABACUS_DATABASE_POOL_SIZE.",
        )
        loose = [name for name in ("fsync", "full_page_writes", "synchronous_commit") if server.settings[name] == "off"]
        yield Finding(
            "durability",
            f"{', '.join(loose)} off: acknowledged events can be lost" if loose else "a commit survives a crash",
            f"Turn {' and '.join(loose)} on." if loose else "",
        )

    async def _call(self) -> Finding:
        """Call the service as a client would; a request id that comes back proves that it was this service."""
        name = f"doctor-{uuid.uuid4().hex}"
        try:
            response = await self._client.get(f"{self._url}/_readyz", headers={"X-Request-ID": name})
        except httpx.HTTPError as error:
            said = str(error) or type(error).__name__
            return Finding("address", f"{self._url}: {said}", "Check the name, the certificate and the proxy.")
        if response.headers.get("X-Request-ID") != name:
            return Finding(
                "address",
                f"{self._url}/_readyz is answered ({response.status_code}), but not by Abacus",
                "Let the proxy pass requests below this address on, with X-Request-ID in both directions.",
            )
        if not response.is_success:
            return Finding(
                "address", f"the service says it is not ready: {response.text[:200]}", "Mend what is named above."
            )
        return Finding("address", f"{self._url} leads here, and the service is ready")

    async def _compare_prefix(self) -> Finding:
        document = (await self._client.get(f"{self._url}/openapi.json")).json()
        servers = document.get("servers") or [{"url": ""}]
        told = servers[0]["url"].rstrip("/")
        used = urlsplit(self._url or "").path
        if told == used:
            return Finding("prefix", f"links begin with {used or '/'}")
        return Finding(
            "prefix",
            f"clients use {used or '/'}, the service believes it is {told or '/'}",
            f"Set ABACUS_PUBLIC_URL={self._url}, or start with `abacus serve --root-path {used or '/'}`.",
        )

    async def _send_much(self) -> Finding:
        """Send a large batch without a token: the service refuses it in its own words, if it gets to see it."""
        body = b'{"batch": [{"event": "doctor", "distinct_id": "doctor"}]}' + b" " * BODY_BYTES
        try:
            response = await self._client.post(
                f"{self._url}/batch/", content=body, headers={"Content-Type": "application/json"}
            )
            is_ours = response.json()["code"] == "missing_api_key"
            said = f"a body of {BODY_BYTES // 1024**2} MiB is answered with {response.status_code} by the proxy"
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            is_ours = False
            said = f"a body of {BODY_BYTES // 1024**2} MiB does not get through ({type(error).__name__})"
        if is_ours:
            return Finding("large bodies", f"{BODY_BYTES // 1024**2} MiB get through")
        return Finding("large bodies", said, "Let the proxy pass 21 MiB on (nginx: client_max_body_size 21m).")
