"""``abacus serve`` as a process, to be stopped and killed."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.support.command_line import ABACUS, Forked
from tests.support.ports import free_port
from tests.support.programs import PATIENCE, answers, without_settings


class Serving:
    """A started ``abacus serve``. What it prints goes to ``log``; ``application`` is what its workers serve."""

    def __init__(
        self,
        database_url: str,
        log: Path,
        *arguments: str,
        port: int | None = None,
        application: str | None = None,
        **settings: str,
    ) -> None:
        self.port = port or free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.log = log
        given = {f"ABACUS_{name.upper()}": value for name, value in settings.items()}
        environment = without_settings({**given, "ABACUS_DATABASE_URL": database_url})
        command = ["serve", "--port", str(self.port), *arguments]
        self.process = Forked(ABACUS, command, environment, log, log, application=application)

    def __enter__(self) -> "Serving":
        return self

    def __exit__(self, *_exception: object) -> None:
        workers = self.workers()
        self.process.kill()
        self.process.wait()
        for worker in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)

    def wait_until_ready(self) -> None:
        wait_for(lambda: answers(f"{self.address}/_readyz"), self.log)

    def workers(self) -> Sequence[int]:
        """Return the process ids of the workers, if they are processes of their own."""
        command = ["ps", "-A", "-o", "pid=,ppid=,args="]
        listed = subprocess.run(command, capture_output=True, text=True, check=True)
        rows = (line.split(maxsplit=2) for line in listed.stdout.splitlines())
        own = str(self.process.pid)
        return [int(row[0]) for row in rows if row[1] == own and "resource_tracker" not in row[2]]

    def stop(self) -> int:
        """Ask it to stop; return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


def wait_for(condition: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(log.read_text(errors="replace")[-3000:])
        time.sleep(0.05)


def is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


@contextlib.contextmanager
def half_sent(port: int) -> Iterator[socket.socket]:
    """A connection on which half of a request's body has been sent."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        head = (
            b"POST /batch/ HTTP/1.1\r\nHost: abacus\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
        )
        client.sendall(head + b'{"api_key": ')
        yield client


def read_all(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(65536), b""))
