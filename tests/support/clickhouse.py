"""A real ClickHouse for tests: the engine in a process of its own, reached by the client that the service uses."""

import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Self

from tests.support.ports import free_port

_SCRIPT = Path(__file__).with_name("clickhouse_process.py")
_START_SECONDS = 60.0


class ClickHouseServer:
    """A server without data that lives at most as long as the process that started it."""

    def __init__(self, directory: Path, port: int) -> None:
        self._directory = directory
        self._port = port
        self._process = self._spawn()

    @classmethod
    def start(cls) -> Self:
        return cls(Path(tempfile.mkdtemp(prefix="abacus-clickhouse-")), free_port())

    def url(self, database: str) -> str:
        return f"http://default@127.0.0.1:{self._port}/{database}"

    def kill(self) -> None:
        """End the server as a loss of power would."""
        self._process.kill()
        self._process.wait()

    def start_again(self) -> None:
        self._process = self._spawn()

    def stop(self) -> None:
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _spawn(self) -> "subprocess.Popen[bytes]":
        setpriv = shutil.which("setpriv")
        prefix = (setpriv, "--pdeathsig=KILL") if setpriv else ()
        with (self._directory / "server.log").open("ab") as log:
            process = subprocess.Popen(
                [*prefix, sys.executable, str(_SCRIPT), str(self._directory), str(self._port)], stdout=log, stderr=log
            )
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/ping", timeout=1):
                    return process
            except OSError:
                if process.poll() is not None:
                    break
                time.sleep(0.02)
        process.kill()
        raise RuntimeError(f"ClickHouse did not start: {(self._directory / 'server.log').read_text()[-2000:]}")
