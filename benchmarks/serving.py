"""Started services, each a process of its own."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator

from app.database import Database


def served(database: Database) -> contextlib.AbstractAsyncContextManager[int]:
    """Run the service on the benchmark's database; yield its port."""
    return _started([sys.executable, "-m", "app.cli", "serve"], _environment(database))


def served_factory(factory: str, database: Database | None = None) -> contextlib.AbstractAsyncContextManager[int]:
    """Run another application, named as ``module:function``, on the same server; yield its port."""
    command = [sys.executable, "-m", "uvicorn", "--factory", factory, "--no-access-log", "--no-server-header"]
    return _started(command, None if database is None else _environment(database))


def _environment(database: Database) -> dict[str, str]:
    url = database.engine.url.render_as_string(hide_password=False)
    return {"ABACUS_DATABASE_URL": url, "ABACUS_MATERIALISE_INTERVAL": "0"}


@contextlib.asynccontextmanager
async def _started(command: list[str], environment: dict[str, str] | None = None) -> AsyncIterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *command,
        "--port",
        str(port),
        env={**os.environ, **(environment or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        await _until_listening(port)
        yield port
    finally:
        process.terminate()
        await process.wait()


async def _until_listening(port: int) -> None:
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.1)
