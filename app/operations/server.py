"""Server processes: start, supervision and graceful shutdown."""

import asyncio
import contextlib
import logging
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from app.db import migrations
from app.settings import Settings
from app.telemetry import logging as logs
from app.telemetry.prometheus import DIRECTORY_VARIABLE

logger = logging.getLogger("abacus")

APPLICATION = "app.main:create_app"

_RETRY_SECONDS = 1.0
_RETRY_SECONDS_BESIDE_A_NEWER_SCHEMA = 60.0  # an attempt takes a connection and a lock, and that is not over soon
_OTHER_FILES = 500  # beside connections of clients: of the database, of metrics, of the interpreter
# A worker that does not answer for this many seconds is replaced. With uvicorn's default of 5, a machine that is busy
# while workers start would kill them again and again.
_WORKER_HEALTHCHECK_SECONDS = 20


def serve(settings: Settings, *, host: str, port: int, workers: int) -> None:
    """Serve until a stop signal. Exits with a non-zero status when the service could not start."""
    config = uvicorn.Config(
        APPLICATION,
        factory=True,
        host=host,
        port=port,
        workers=workers,
        http="app.operations.http_protocol:BoundedHttpProtocol",
        ws="none",
        limit_concurrency=settings.max_connections,
        proxy_headers=False,  # app.http.middleware.proxy_headers handles more headers
        log_config=logs.configuration(settings.log_level),
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=settings.shutdown_timeout,
        timeout_worker_healthcheck=_WORKER_HEALTHCHECK_SECONDS,
    )
    _allow_open_files(settings.max_connections + _OTHER_FILES)
    if workers == 1:
        uvicorn.Server(config).run()
        return
    supervisor = Multiprocess(config, sockets=[config.bind_socket()])  # restarts a worker that dies
    with _shared_metrics():
        supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        sys.exit(STARTUP_FAILURE)  # uvicorn itself would exit with 0 here


def _allow_open_files(number: int) -> None:
    """Raise the process's soft limit on open files, which is often 1,024, as far as its hard limit lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = number if hard == resource.RLIM_INFINITY else min(number, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextlib.contextmanager
def _shared_metrics() -> Iterator[None]:
    """Name a directory for the metrics of all workers before they start."""
    with tempfile.TemporaryDirectory(prefix="abacus-metrics-") as folder:
        os.environ[DIRECTORY_VARIABLE] = folder
        yield


def stop_with_parent() -> None:
    """Stop a worker when its parent process is gone; otherwise it would hold the port forever."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    loop = asyncio.get_running_loop()
    sentinel = parent.sentinel

    def stop() -> None:
        loop.remove_reader(sentinel)
        logger.error("parent process is gone; stopping this worker")
        os.kill(os.getpid(), signal.SIGTERM)

    loop.add_reader(sentinel, stop)


def drain_before_stopping(seconds: float, on_drain: Callable[[], None]) -> None:
    """Keep serving for a while after SIGTERM. ``on_drain`` is called at once, so that ``/_readyz`` reports not ready.

    A second SIGTERM, and SIGINT, stop at once.
    """
    if not seconds:
        return
    loop = asyncio.get_running_loop()
    stop = signal.getsignal(signal.SIGTERM)

    def drain(number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, stop)
        on_drain()
        loop.call_soon_threadsafe(loop.call_later, seconds, signal.raise_signal, number)

    signal.signal(signal.SIGTERM, drain)


async def migrate_when_possible(settings: Settings) -> None:
    """Migrate as soon as the database can be reached. Until then the service runs and reports not ready."""
    while True:
        try:
            await asyncio.to_thread(migrations.upgrade, settings)
        except Exception as error:  # giving up would leave a process that is never ready
            logger.warning("migration failed, retrying: %s: %s", type(error).__name__, str(error).partition("\n")[0])
            is_too_new = isinstance(error, migrations.SchemaTooNew)
            await asyncio.sleep(_RETRY_SECONDS_BESIDE_A_NEWER_SCHEMA if is_too_new else _RETRY_SECONDS)
        else:
            return
