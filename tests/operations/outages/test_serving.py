"""Server processes start, stop and exit as supervisors expect."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from app.db import migrations
from tests.conftest import in_a_thread, run_apart, settings_for
from tests.operations.outages.applications import Stopwatch, running
from tests.operations.outages.processes import (
    Serving,
    half_sent,
    is_running,
    read_all,
    wait_for,
)
from tests.support.command_line import ABACUS, Forked
from tests.support.postgresql import PostgresServer
from tests.support.programs import PATIENCE, answers


@pytest.fixture
def url(postgresql: PostgresServer, postgresql_template: str) -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    run_apart(postgresql.create_database(name, template=postgresql_template))
    yield postgresql.url(name)
    run_apart(postgresql.drop_database(name))


def test_workers_that_die_or_block_are_replaced_and_stop_with_their_parent(url: str, tmp_path: Path) -> None:
    application = "tests.support.faulty_applications:create_blocking"
    with Serving(url, tmp_path / "log", "--workers", "2", application=application, watchdog_seconds="5") as served:
        served.wait_until_ready()
        before = served.workers()
        os.kill(before[0], signal.SIGKILL)
        wait_for(lambda: len(served.workers()) == 2 and before[0] not in served.workers(), served.log)
        served.wait_until_ready()

        before = served.workers()
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{served.address}/block", timeout=PATIENCE)
        wait_for(lambda: len(served.workers()) == 2 and set(served.workers()) != set(before), served.log)
        served.wait_until_ready()
        log = served.log.read_text()
        assert "Timeout (0:00:05)" in log
        assert "in block" in log  # the stack names the function that did not return

        left = served.workers()
        served.process.kill()
        served.process.wait()
        wait_for(lambda: not any(map(is_running, left)), served.log)
        assert not answers(f"{served.address}/_livez")


def test_workers_that_cannot_start_cause_a_failure_status(url: str, tmp_path: Path) -> None:
    application = "tests.support.faulty_applications:create_failing"
    with Serving(url, tmp_path / "log", "--workers", "2", application=application) as served:
        assert served.process.wait(PATIENCE) == 3


def test_port_in_use_causes_a_failure_status(url: str, tmp_path: Path) -> None:
    with Serving(url, tmp_path / "first") as first:
        first.wait_until_ready()
        with Serving(url, tmp_path / "log", port=first.port) as second:
            assert second.process.wait(PATIENCE) > 0


def test_service_drains_and_stops_in_time_during_an_upload(url: str, tmp_path: Path) -> None:
    with Serving(url, tmp_path / "log", drain_seconds="1.5", shutdown_timeout="1") as served:
        served.wait_until_ready()
        with half_sent(served.port) as client:
            stopwatch = Stopwatch()
            served.process.send_signal(signal.SIGTERM)
            wait_for(lambda: not answers(f"{served.address}/_readyz"), served.log)
            assert answers(f"{served.address}/_livez")  # it still serves whoever comes
            assert httpx.get(f"{served.address}/api/projects/").status_code == 401

            assert served.process.wait(PATIENCE) in {0, -signal.SIGTERM}
            assert 1.5 < stopwatch.seconds < 30
            head, _, body = read_all(client).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1" in head
        assert json.loads(body) == {
            "type": "server_error",
            "code": "service_unavailable",
            "detail": "The service is being restarted. Please try again.",
            "attr": None,
        }
        assert "Traceback" not in served.log.read_text()


async def test_body_that_does_not_arrive_times_out() -> None:
    async def half() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(60)

    async with running("postgresql://nobody@127.0.0.1:1/nothing", body_timeout=0.05) as (client, _):
        response = await client.post("/batch/", content=half())

    assert (response.status_code, response.headers["Connection"]) == (408, "close")
    assert response.json() == {
        "type": "invalid_request",
        "code": "request_timeout",
        "detail": "The request body did not arrive in time.",
        "attr": None,
    }


def test_replicas_that_start_together_migrate_once(postgresql: PostgresServer, tmp_path: Path) -> None:
    name = f"test_{uuid4().hex}"
    run_apart(postgresql.create_database(name))
    environment = {**os.environ, "ABACUS_DATABASE_URL": postgresql.url(name)}
    log = tmp_path / "log"
    replicas = [Forked(ABACUS, ["migrate"], environment, log, log) for _ in range(3)]

    assert [replica.wait(PATIENCE) for replica in replicas] == [0, 0, 0], log.read_text()
    in_a_thread(lambda: migrations.check(settings_for(postgresql.url(name))))
    run_apart(postgresql.drop_database(name))
