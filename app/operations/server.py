"""Processes that serve: how they start, are watched, and stop."""

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
_OTHER_FILES = 500  # beside connections of clients: of the database, of metrics, of the interpreter
# Without an answer for so many seconds a worker is taken for stuck, and replaced. By the server's own 5 a machine that
# is busy while workers start would kill them again and again.
_WORKER_PATIENCE = 20


def serve(settings: Settings, *, host: str, port: int, workers: int) -> None:
    """Serve until a signal says stop. Exits with a status that says so when serving could not begin."""
    config = uvicorn.Config(
        APPLICATION,
        factory=True,
        host=host,
        port=port,
        workers=workers,
        http="app.operations.http_protocol:BoundedHttpProtocol",
        ws="none",
        limit_concurrency=settings.max_connections,
        proxy_headers=False,  # app.http.middleware.proxy_headers knows more of them
        log_config=logs.configuration(settings.log_level),
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=settings.shutdown_timeout,
        timeout_worker_healthcheck=_WORKER_PATIENCE,
    )
    _allow_open_files(settings.max_connections + _OTHER_FILES)
    if workers == 1:
        uvicorn.Server(config).run()
        return
    supervisor = Multiprocess(config, sockets=[config.bind_socket()])  # starts a worker anew when it dies
    with _shared_metrics():
        supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        sys.exit(STARTUP_FAILURE)  # left to the server, this would be a success to whoever watches the process


def _allow_open_files(number: int) -> None:
    """Raise the process's soft limit on open files, which is often 1,024, as far as its hard limit lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = number if hard == resource.RLIM_INFINITY else min(number, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextlib.contextmanager
def _shared_metrics() -> Iterator[None]:
    """Name a directory for the numbers of several workers, before they are started."""
    with tempfile.TemporaryDirectory(prefix="abacus-metrics-") as folder:
        os.environ[DIRECTORY_VARIABLE] = folder
        yield


def stop_with_parent() -> None:
    """Have a worker stop when the process that started it is gone: it would hold the port for ever."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    loop = asyncio.get_running_loop()
    sentinel = parent.sentinel

    def stop() -> None:
        loop.remove_reader(sentinel)
        logger.error("the process that started this worker is gone: stopping")
        os.kill(os.getpid(), signal.SIGTERM)

    loop.add_reader(sentinel, stop)


def drain_before_stopping(seconds: float, on_drain: Callable[[], None]) -> None:
    """On SIGTERM go on serving for a while. ``on_drain`` is called at once, to tell load balancers to go elsewhere.

    A second signal, and SIGINT of a terminal, stop at once.
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
    """Migrate as soon as the database can be reached. Until then the service is up, and says that it is not ready."""
    while True:
        try:
            await asyncio.to_thread(migrations.upgrade, settings)
        except Exception as error:  # told, and tried again: to give up would leave a process that is never ready
            logger.warning("not migrated yet: %s: %s", type(error).__name__, str(error).partition("\n")[0])
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            return
