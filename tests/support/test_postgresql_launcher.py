import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.support.postgresql import EXISTING_SERVER_VARIABLE, PostgresServer

pytestmark = pytest.mark.skipif(EXISTING_SERVER_VARIABLE in os.environ, reason="the launcher is not in use")

OWNER = """
import sys
from tests.support.postgresql import PostgresServer
server = PostgresServer.start()
print(server.process_id, server.socket_directory, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer.start() as server:
        yield server


async def test_server_answers_over_tcp_and_over_the_unix_socket(server: PostgresServer) -> None:
    over_the_socket = f"postgresql://postgres@/postgres?host={server.socket_directory}&port={server.port}"
    for address in (server.url("postgres"), over_the_socket):
        connection = await asyncpg.connect(address)
        assert await connection.fetchval("SELECT 6 * 7") == 42
        await connection.close()


async def test_clone_of_a_template_has_its_tables(server: PostgresServer) -> None:
    await server.create_database("original")
    original = await asyncpg.connect(server.url("original"))
    await original.execute("CREATE TABLE fruit (name text); INSERT INTO fruit VALUES ('pear')")
    await original.close()

    await server.create_database('odd "name"', template="original")

    clone = await asyncpg.connect(server.url("postgres"), database='odd "name"')
    assert await clone.fetchval("SELECT name FROM fruit") == "pear"
    await clone.close()


async def test_database_in_use_can_be_dropped(server: PostgresServer) -> None:
    await server.create_database("busy")
    connection = await asyncpg.connect(server.url("busy"))

    await server.drop_database("busy")

    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await connection.fetchval("SELECT 1")
    await connection.close()
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await asyncpg.connect(server.url("busy"))


async def test_durable_server_started_inside_an_event_loop_syncs_and_leaves_no_files() -> None:
    with PostgresServer.start(durable=True) as server:
        connection = await asyncpg.connect(server.url("postgres"))
        settings = [await connection.fetchval(f"SHOW {name}") for name in ("fsync", "synchronous_commit")]
        await connection.close()

    assert settings == ["on", "on"]
    assert server.socket_directory is not None
    assert not server.socket_directory.exists()
    assert not _is_running(server.process_id)
    server.stop()


def test_existing_server_is_used_and_not_stopped(monkeypatch: pytest.MonkeyPatch, server: PostgresServer) -> None:
    monkeypatch.setenv(
        EXISTING_SERVER_VARIABLE, f"postgresql://someone:secret@127.0.0.1:{server.port}/main?ssl=disable"
    )

    with PostgresServer.start() as existing:
        assert existing.url("copy") == f"postgresql://someone:secret@127.0.0.1:{server.port}/copy?ssl=disable"

    assert existing.socket_directory is None
    assert _is_running(server.process_id)


def test_worker_thread_is_refused() -> None:
    refusals: list[str] = []

    def start() -> None:
        try:
            PostgresServer.start()
        except RuntimeError as error:
            refusals.append(str(error))

    thread = threading.Thread(target=start, name="worker")
    thread.start()
    thread.join()

    assert refusals == ["start PostgreSQL from the main thread, not from 'worker'"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a parent-death signal")
def test_killed_owner_leaves_no_process_and_the_next_start_removes_its_files(server: PostgresServer) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert owner.stdin is not None
    assert owner.stdout is not None
    with owner.stdin, owner.stdout:
        process_id, directory = owner.stdout.readline().split()
        assert _is_running(int(process_id))

        owner.send_signal(signal.SIGKILL)
        owner.wait()

    deadline = time.monotonic() + 20
    while _is_running(int(process_id)):
        assert time.monotonic() < deadline, f"postgres {process_id} outlived its owner"
        time.sleep(0.005)
    PostgresServer.start().stop()
    assert not Path(directory).exists()
    assert server.socket_directory is not None
    assert server.socket_directory.exists()


def _is_running(process_id: int | None) -> bool:
    """Tell whether a process exists and is more than an entry that nobody has collected yet."""
    assert process_id is not None
    try:
        os.kill(process_id, 0)
        if sys.platform != "linux":
            return True
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"
