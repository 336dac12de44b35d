"""Programs of the system that tests run, and servers that they start."""

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import httpx
import pytest

from tests.support.command_line import Forked
from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]
EVERYTHING = "TEST_EVERYTHING"  # set where a missing program is a fault, and no reason to test less

PATIENCE = 120.0  # seconds that a program has to start, of which an idle machine needs a few

# For clients of plain HTTP: without it each reads the certificates of all authorities, which takes 25 ms.
NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def require(program: str) -> str:
    """Return where the program is; skip the test without it, or fail if everything has to be tested."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if found is None:
        reason = f"{program} is not installed: .ci/system does it"
        if os.environ.get(EVERYTHING):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@contextlib.contextmanager
def running(command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> Iterator[None]:
    """Run a program in the foreground until the block ends; what it says goes to a file."""
    own = without_settings(environment or {})
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=own, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT)
    with _until_the_end(process):
        yield


def without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the tests with this one, and without settings of the service."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("ABACUS_")}
    return {**own, **environment}


@contextlib.contextmanager
def _until_the_end(process: subprocess.Popen[bytes] | Forked) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(url: str) -> bool:
    """Tell whether the answer is 200."""
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url, verify=NO_AUTHORITIES).status_code == 200
    return False


def wait_for(url: str, log: Path) -> None:
    """Ask until the answer is 200."""
    _wait_until(lambda: answers(url), f"no good answer from {url}", log)


def wait_for_port(port: int, log: Path) -> None:
    """Connect to a port of this machine until something listens there."""

    def listens() -> bool:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return True
        return False

    _wait_until(listens, f"nothing listens on port {port}", log)


def _wait_until(is_ready: Callable[[], bool], complaint: str, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if is_ready():
            return
        time.sleep(0.05)
    raise TimeoutError(f"{complaint}: {log.read_text(errors='replace')[-2000:]}")


@contextlib.contextmanager
def serving(environment: Mapping[str, str], folder: Path, factory: str) -> Iterator[int]:
    """Serve an application as ``abacus serve`` does, on a free port."""
    port, log = free_port(), folder / "service.log"
    arguments = ["--factory", factory, "--port", str(port), "--no-proxy-headers"]
    options = ["--no-access-log", "--no-server-header", "--timeout-keep-alive", "75"]
    with _until_the_end(Forked("uvicorn", [*arguments, *options], without_settings(environment), log, log)):
        wait_for(f"http://127.0.0.1:{port}/_readyz", log)
        yield port
