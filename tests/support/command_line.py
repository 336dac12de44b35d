"""Commands in processes of their own, forked from one that has imported the command line: Python takes 2 s to do so."""

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from app import cli

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["app.cli", "tests.support.command_line"])


def run_command(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[int | None, str, str]:
    """Run ``abacus`` with these arguments; return its exit status, and what it printed and complained of."""
    with TemporaryDirectory() as folder:
        output, errors = Path(folder, "output"), Path(folder, "errors")
        process = _FORKS.Process(target=_run, args=(tuple(arguments), dict(environment), str(output), str(errors)))
        process.start()
        process.join(60)
        if process.is_alive():
            process.kill()
            process.join()
        return process.exitcode, output.read_text(), errors.read_text()


def _run(arguments: Sequence[str], environment: Mapping[str, str], output: str, errors: str) -> None:
    for descriptor, path in ((1, output), (2, errors)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["abacus", *arguments]
    cli.console, cli.errors = Console(), Console(stderr=True)  # the width of the screen is read when they are made
    cli.main()
