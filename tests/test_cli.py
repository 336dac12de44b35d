"""The command line, run as an operator runs it: as a process of its own."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import run_apart
from tests.support.command_line import ABACUS, Forked, run_command
from tests.support.ports import free_port
from tests.support.postgresql import PostgresServer
from tests.support.programs import PATIENCE, answers
from tests.support.service import Service, event

pytestmark = [pytest.mark.one_database, pytest.mark.own_database]


@pytest.fixture
def environment(database_url: str) -> dict[str, str]:
    return {**os.environ, "ABACUS_DATABASE_URL": database_url}


def abacus(environment: dict[str, str], *arguments: str, status: int = 0) -> str:
    """Run the command and return what it printed."""
    exit_status, output, errors = run_command(arguments, environment)
    assert exit_status == status, errors
    return output if status == 0 else errors


@contextlib.contextmanager
def served(environment: dict[str, str], *options: str) -> Iterator[str]:
    """Run ``abacus serve`` and yield its address; it has to stop cleanly when asked to."""
    port, nowhere = free_port(), Path(os.devnull)
    process = Forked(ABACUS, ["serve", "--port", str(port), *options], environment, nowhere, nowhere)
    try:
        address = f"http://127.0.0.1:{port}"
        wait_until_ready(address)
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) in {0, -signal.SIGTERM}


def wait_until_ready(address: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if answers(f"{address}/_readyz"):
            return
        time.sleep(0.05)
    raise TimeoutError(f"nothing answers at {address}")


def test_refresh_counts_the_metrics_of_one_project(environment: dict[str, str]) -> None:
    made = abacus(environment, "project", "create", "--name", "Shop", "--email", "ann@example.com", "--json")
    project_id = json.loads(made)["project_id"]

    assert "100%" in abacus(environment, "refresh", "--project", str(project_id))
    refused = abacus(environment, "refresh", "--project", str(project_id + 1), status=1)
    assert refused == f"abacus: there is no project {project_id + 1}\n"


def test_materialise_is_a_hidden_alias_of_refresh(environment: dict[str, str]) -> None:
    abacus(environment, "project", "create", "--name", "Shop", "--email", "ann@example.com")

    assert "100%" in abacus(environment, "materialise", "--project", "1")
    commands = abacus(environment, "--help")
    assert "refresh" in commands
    assert "materialise" not in commands


def test_project_is_created_and_served(environment: dict[str, str]) -> None:
    made = json.loads(
        abacus(environment, "project", "create", "--name", "Shop", "--email", "ann@example.com", "--json")
    )
    assert made.keys() == {"project_id", "project_token", "personal_api_key", "user_email", "organization"}

    with served(environment) as address:
        answer = httpx.get(
            f"{address}/api/projects/{made['project_id']}/",
            headers={"Authorization": f"Bearer {made['personal_api_key']}"},
        )

    assert answer.json()["api_token"] == made["project_token"]


def test_each_user_gets_an_organization_unless_they_join_one(environment: dict[str, str]) -> None:
    def create(email: str, *more: str, status: int = 0) -> str:
        printed = abacus(
            environment, "project", "create", "--name", "Shop", "--email", email, *more, "--json", status=status
        )
        return str(json.loads(printed)["organization"]) if status == 0 else printed

    assert create("ann@example.com") == create("ann@example.com") == "Shop"
    assert create("eve@example.com") == "Shop 2"
    assert "pass --join" in create("eve@example.com", "--organization", "Shop", status=1)
    assert create("eve@example.com", "--organization", "Shop", "--join") == "Shop"
    assert create("eve@example.com", "--organization", "Shop") == "Shop"
    assert create("eve@example.com", "--organization", "Blog") == "Blog"
    assert create("eve@example.com") == "Shop 2"
    text = abacus(environment, "project", "create", "--name", "Shop", "--email", "bob@example.com")
    assert "organization      Shop 3\n" in text


def test_keys_are_created_listed_and_revoked_and_users_deactivated(environment: dict[str, str]) -> None:
    abacus(environment, "project", "create", "--name", "Shop", "--email", "ann@example.com")
    value = abacus(environment, "key", "create", "--email", "ann@example.com", "--label", "Notebook").strip()
    listed = abacus(environment, "key", "list", "--email", "ann@example.com")
    abacus(environment, "key", "revoke", "2")
    abacus(environment, "user", "deactivate", "--email", "ann@example.com")

    assert value.startswith("phx_")
    assert "Notebook" in listed
    assert value not in listed
    assert "Notebook" not in abacus(environment, "key", "list", "--email", "ann@example.com")
    assert "deactivated" in abacus(environment, "key", "create", "--email", "ann@example.com", status=1)


def test_expected_error_is_reported_in_one_line(environment: dict[str, str]) -> None:
    reported = abacus(environment, "key", "list", "--email", "nobody@example.com", status=1)

    assert reported.strip() == "abacus: There is no user 'nobody@example.com'."


def test_key_is_limited_to_scopes(environment: dict[str, str]) -> None:
    abacus(environment, "project", "create", "--name", "Shop", "--email", "ann@example.com")
    limits = ["--scope", "experiment:read", "--scope", "feature_flag:read"]

    abacus(environment, "key", "create", "--email", "ann@example.com", "--label", "Reader", *limits)
    refusal = abacus(environment, "key", "create", "--email", "ann@example.com", "--scope", "experiment:rd", status=1)

    listed = abacus({**environment, "COLUMNS": "200"}, "key", "list", "--email", "ann@example.com")
    assert "experiment:read feature_flag:read" in listed
    assert "There is no scope 'experiment:rd'" in refusal


def test_prefix_works_whether_the_proxy_strips_it_or_not(environment: dict[str, str]) -> None:
    made = json.loads(
        abacus(environment, "project", "create", "--name", "Shop", "--email", "ann@example.com", "--json")
    )
    headers = {"Authorization": f"Bearer {made['personal_api_key']}"}

    with served(environment, "--root-path", "/abacus") as address:
        for front in (address, f"{address}/abacus"):
            assert httpx.get(f"{front}/openapi.json", timeout=PATIENCE).json()["servers"] == [{"url": "/abacus"}]
            page = httpx.get(f"{front}/api/projects/?offset=1", headers=headers).json()
            assert page["previous"] == f"{address}/abacus/api/projects/?limit=100"


@pytest.mark.everything  # workers that share metrics cannot be forked: each imports the application
def test_each_worker_reports_the_metrics_of_all_workers(postgresql: PostgresServer, postgresql_template: str) -> None:
    run_apart(postgresql.create_database("workers", template=postgresql_template))
    environment = {
        **os.environ,
        "ABACUS_DATABASE_URL": postgresql.url("workers"),
        "ABACUS_METRICS_TOKEN": "metrics-token",
    }
    counted = 'abacus_http_requests_total{method="GET",route="none",status="404"} 20.0'
    with served(environment, "--workers", "2") as address:
        for _ in range(20):  # each on a connection of its own, so that both workers get requests
            httpx.get(f"{address}/nothing/")
        # A request is counted when it has ended, which may be after its client has the response: hence several tries.
        headers = {"Authorization": "Bearer metrics-token"}
        is_counted = [counted in httpx.get(f"{address}/metrics", headers=headers).text for _ in range(12)]

    assert all(is_counted[4:])
    run_apart(postgresql.drop_database("workers"))


def test_prune_removes_old_events_after_a_dry_run(environment: dict[str, str]) -> None:
    created = abacus(environment, "project", "create", "--name", "Shop", "--email", "ann@example.com", "--json")
    sent = [
        {"event": "visit", "distinct_id": "ann", "timestamp": f"2022-11-{day:02}T00:00:00Z"} for day in range(1, 11)
    ]
    with served(environment) as address:
        body = {"api_key": json.loads(created)["project_token"], "batch": sent}
        assert httpx.post(f"{address}/batch/", json=body).status_code == 200

    prune = ("prune", "--before", "2022-11-05", "--project", "1")
    assert abacus(environment, *prune, "--dry-run") == "Project 1 (Shop): 4 events would be removed\n"
    assert abacus(environment, *prune) == "Project 1 (Shop): 4 events removed\n"
    assert abacus(environment, *prune) == "Project 1 (Shop): 0 events removed\n"
    assert "no project 7" in abacus(environment, "prune", "--before", "2022-11-05", "--project", "7", status=1)
    assert "in the future" in abacus(environment, "prune", "--before", "2999-01-01", status=1)


async def test_persons_are_erased_with_their_events(service: Service, environment: dict[str, str]) -> None:
    await service.capture(event("visit", "ann"), event("visit", "bob"))
    command = ("person", "delete", "--project", str(service.project_id))
    erasure = (environment, *command, "--distinct-id", "ann", "--delete-events")

    assert await asyncio.to_thread(abacus, *erasure) == "Erased 1 person.\n"
    assert await asyncio.to_thread(abacus, *erasure) == "Erased 0 persons.\n"
    assert "--distinct-id" in await asyncio.to_thread(abacus, environment, *command, status=1)
    assert [one["distinct_id"] for one in (await service.read("/events/"))["results"]] == ["bob"]


def test_doctor_exits_with_1_and_prints_a_fix_for_a_failed_check(environment: dict[str, str]) -> None:
    abacus(environment, "project", "create", "--name", "Shop", "--email", "ann@example.com")
    status, printed, _ = run_command(["doctor", "--url", "http://127.0.0.1:9"], {**environment, "COLUMNS": "200"})

    lines = printed.splitlines()
    assert status == 1
    assert any(line.startswith("OK    schema ") for line in lines)
    [failure] = [number for number, line in enumerate(lines) if line.startswith("FAIL  address ")]
    assert lines[failure + 1].strip() == "Fix: Check the name, the certificate and the proxy."


def test_healthcheck_reports_by_its_exit_code(environment: dict[str, str]) -> None:
    def probe(url: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "app.operations.healthcheck", url]
        behind_a_proxy = {**environment, "http_proxy": "http://127.0.0.1:9"}
        return subprocess.run(command, env=behind_a_proxy, capture_output=True, text=True, check=False)

    with served(environment) as address:
        healthy = probe(f"{address}/_livez")
        missing = probe(f"{address}/nothing")
    gone = probe(f"{address}/_livez")

    assert (healthy.returncode, missing.returncode, gone.returncode) == (0, 1, 1)
    assert missing.stderr.strip() == f"{address}/nothing: HTTP Error 404: Not Found"
    assert len(gone.stderr.splitlines()) == 1
