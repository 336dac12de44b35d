"""Started services, each a process of its own."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from app.db.database import Database

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Served:
    port: int
    process_id: int

    def processor_seconds(self) -> float:
        """Return what the process and its workers have used so far."""
        return processor_seconds(self.process_id)


def processor_seconds(process_id: int) -> float:
    """Return what a process and those that it started have used: steadier than the clock where others work, too."""
    parents, ticks = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            fields, number = _statistics(path), int(path.parent.name)
            parents[number], ticks[number] = int(fields[1]), int(fields[11]) + int(fields[12])
    found, waiting = 0, [process_id]
    while waiting:
        parent = waiting.pop()
        found += ticks.get(parent, 0)
        waiting += [number for number, above in parents.items() if above == parent]
    return found / _TICKS_PER_SECOND


async def server_process(database: Database) -> int | None:
    """Return the process that started the one which answers here; None where the database is part of the service."""
    if database.is_sqlite:
        return None
    async with database.read() as session:
        backend = await session.scalar(text("SELECT pg_backend_pid()"))
    return int(_statistics(Path(f"/proc/{backend}/stat"))[1])


def _statistics(path: Path) -> list[str]:
    """Return what Linux tells of a process behind its name: the state, the parent and so on."""
    return path.read_text().rpartition(") ")[2].split()


def served(
    database: Database, *, workers: int = 1, results_timeout: float = 50
) -> contextlib.AbstractAsyncContextManager[Served]:
    """Run the service on the benchmark's database."""
    environment = {
        "ABACUS_DATABASE_URL": database.engine.url.render_as_string(hide_password=False),
        "ABACUS_REFRESH_INTERVAL": "0",
        "ABACUS_RESULTS_TIMEOUT": f"{results_timeout}",
    }
    return _started([sys.executable, "-m", "app.cli", "serve", "--workers", f"{workers}"], environment)


def served_floor() -> contextlib.AbstractAsyncContextManager[Served]:
    """Run ``benchmarks.floor`` on the same server."""
    factory = ["--factory", "benchmarks.floor:floor", "--no-access-log", "--no-server-header"]
    return _started([sys.executable, "-m", "uvicorn", *factory], {})


@contextlib.asynccontextmanager
async def _started(command: list[str], environment: dict[str, str]) -> AsyncIterator[Served]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *command,
        "--port",
        str(port),
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        await _until_listening(port)
        yield Served(port, process.pid)
    finally:
        process.terminate()
        await process.wait()


async def _until_listening(port: int) -> None:
    async with asyncio.timeout(120):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.1)
