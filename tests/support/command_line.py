"""Commands and servers in processes of their own, forked from one that has imported them: Python takes 2 s to do so."""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import uvicorn._subprocess
from rich.console import Console

from app import cli
from app.operations import server

_FORKS = multiprocessing.get_context("forkserver")
_IMPORTED = ["app.cli", "app.main", "uvicorn.__main__", "tests.support.command_line", "tests.support.before_forking"]
_FORKS.set_forkserver_preload(_IMPORTED)
ABACUS = "app.cli"


def run_command(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[int | None, str, str]:
    """Run ``abacus`` with these arguments; return its exit status, and what it printed and complained of."""
    with TemporaryDirectory() as folder:
        output, errors = Path(folder, "output"), Path(folder, "errors")
        process = Forked(ABACUS, arguments, environment, output, errors)
        try:
            status = process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        return status, output.read_text(), errors.read_text()


class Forked:
    """What ``python -m module`` does with these arguments, as a process to be used like those of ``subprocess``.

    With ``application``, workers serve that one, and are forked too: by themselves they would import it again.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        output: Path,
        errors: Path,
        *,
        application: str | None = None,
    ) -> None:
        given = (module, tuple(arguments), dict(environment), str(output), str(errors), application)
        self._process = _FORKS.Process(target=_run, args=given)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status, that of a signal below zero."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0)
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        if self._process.is_alive():
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _run(
    module: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    output: str,
    errors: str,
    application: str | None,
) -> None:
    for descriptor, path in ((1, output), (2, errors)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdin = open(0)  # noqa: SIM115  # as in any process; that of a fork has another number
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["abacus" if module == ABACUS else module, *arguments]
    if module != ABACUS:
        runpy.run_module(module, run_name="__main__")
        return
    if application is not None:
        server.APPLICATION = application
        uvicorn._subprocess.spawn = multiprocessing.get_context("fork")  # type: ignore[assignment]
    cli.console, cli.errors = Console(), Console(stderr=True)  # the width of the screen is read when they are made
    cli.main()
