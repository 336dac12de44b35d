"""The command line, run as an operator runs it: as a process of its own."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest

COMMAND = [sys.executable, "-m", "app.cli"]


@pytest.fixture
def environment(database_url: str) -> dict[str, str]:
    return {**os.environ, "ABACUS_DATABASE_URL": database_url}


def abacus(environment: dict[str, str], *arguments: str, status: int = 0) -> str:
    """Run the command and return what it printed."""
    done = subprocess.run(
        [*COMMAND, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


@contextlib.contextmanager
def served(environment: dict[str, str], *options: str) -> Iterator[str]:
    """Run ``abacus serve`` and yield its address; it has to stop cleanly when asked to."""
    port = free_port()
    process = subprocess.Popen(
        [*COMMAND, "serve", "--port", str(port), *options], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_until_ready(address)
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) in {0, -signal.SIGTERM}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def wait_until_ready(address: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{address}/_readyz").status_code == 200:
                return
        time.sleep(0.05)
    raise TimeoutError(f"nothing answers at {address}")


def test_materialising_counts_ahead_of_the_first_request(environment: dict[str, str]) -> None:
    made = abacus(environment, "project", "create", "--name", "Shop", "--email", "ann@example.com", "--json")
    project_id = json.loads(made)["project_id"]

    assert "100%" in abacus(environment, "materialise", "--project", str(project_id))
    refused = abacus(environment, "materialise", "--project", str(project_id + 1), status=1)
    assert refused == f"abacus: there is no project {project_id + 1}\n"


def test_a_project_is_made_and_served(environment: dict[str, str]) -> None:
    made = json.loads(
        abacus(environment, "project", "create", "--name", "Shop", "--email", "ann@example.com", "--json")
    )
    assert made.keys() == {"project_id", "project_token", "personal_api_key", "user_email"}

    with served(environment) as address:
        answer = httpx.get(
            f"{address}/api/projects/{made['project_id']}/",
            headers={"Authorization": f"Bearer {made['personal_api_key']}"},
        )

    assert answer.json()["api_token"] == made["project_token"]


def test_keys_are_made_listed_and_revoked_and_users_deactivated(environment: dict[str, str]) -> None:
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


def test_a_mistake_is_told_in_one_line(environment: dict[str, str]) -> None:
    told = abacus(environment, "key", "list", "--email", "nobody@example.com", status=1)

    assert told.strip() == "abacus: There is no user 'nobody@example.com'."


def test_a_key_may_be_limited_to_scopes(environment: dict[str, str]) -> None:
    abacus(environment, "project", "create", "--name", "Shop", "--email", "ann@example.com")
    limits = ["--scope", "experiment:read", "--scope", "feature_flag:read"]

    abacus(environment, "key", "create", "--email", "ann@example.com", "--label", "Reader", *limits)
    refusal = abacus(environment, "key", "create", "--email", "ann@example.com", "--scope", "experiment:rd", status=1)

    listed = abacus({**environment, "COLUMNS": "200"}, "key", "list", "--email", "ann@example.com")
    assert "experiment:read feature_flag:read" in listed
    assert "There is no scope 'experiment:rd'" in refusal


def test_a_prefix_may_be_given_whether_the_proxy_strips_it_or_not(environment: dict[str, str]) -> None:
    made = json.loads(
        abacus(environment, "project", "create", "--name", "Shop", "--email", "ann@example.com", "--json")
    )
    headers = {"Authorization": f"Bearer {made['personal_api_key']}"}

    with served(environment, "--root-path", "/abacus") as address:
        for front in (address, f"{address}/abacus"):
            assert httpx.get(f"{front}/openapi.json").json()["servers"] == [{"url": "/abacus"}]
            page = httpx.get(f"{front}/api/projects/?offset=1", headers=headers).json()
            assert page["previous"] == f"{address}/abacus/api/projects/?limit=100"
