"""Sends what once stopped the service, and says what others notice of it; then large events for a while.

For each attack a new service with one worker: the statuses, the seconds, the longest time that ``GET /_livez`` took,
the memory that was added at its peak, and how much slower results and captures of another project were than alone.
Exits with 1 when an answer is neither 2xx nor 4xx, livez takes longer than 250 ms (100 ms where no key is needed), or
more than 128 MB are added. With --memory, the large events only have to stay within it. On a busy machine, look at what
livez takes alone.

python -m benchmarks.limits [--only L1 L2] [--database-url postgresql://...] [--memory 512] [--minutes 1]
"""

import argparse
import asyncio
import contextlib
import os
import resource
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copy
from uuid import uuid4

import httpx

from app.accounts.projects.service import AccountService
from app.db import migrations
from app.db.database import Database
from app.settings import Settings
from benchmarks.attacks import ATTACKS, MIB, Attack, Attacker
from benchmarks.watching import Neighbor, Samples, watching
from tests.support.inputs import documents as docs
from tests.support.inputs.capture import event
from tests.support.inputs.model import BAR_MS, Sender

ALONE_SECONDS = 3.0
PATIENCE_SECONDS = 100  # then an attack counts as not answered
MEMORY_BAR_MB = 128
NOT_ANSWERED = 599


@dataclass(frozen=True)
class Options:
    database_url: str | None
    memory: int | None
    minutes: float
    only: Sequence[str]


@dataclass
class Process:
    """A started service."""

    port: int
    id: int
    has_ended: bool = False

    def megabytes(self, figure: str) -> float:
        """Return ``VmRSS``, or its peak ``VmHWM``; 0 when the process has ended."""
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{self.id}/status").read_text().splitlines():
                if line.startswith(figure):
                    return int(line.split()[1]) * 1024 / 1e6
        return 0.0

    def forget_peak(self) -> None:
        Path(f"/proc/{self.id}/clear_refs").write_text("5")


@dataclass(frozen=True)
class Outcome:
    """What an attack did.

    Attributes
    ----------
    alone, meanwhile : Samples
        What others noticed before it and during it.
    """

    statuses: Counter[int]
    seconds: float
    megabytes: float
    alone: Samples
    meanwhile: Samples
    has_ended: bool
    missed: list[str] = field(default_factory=list)

    def compare(self, kind: str) -> str:
        alone, meanwhile = self.alone.middle(kind) * 1000, self.meanwhile.middle(kind) * 1000
        return f"{alone:.0f} -> {meanwhile:.0f} (max {self.meanwhile.slowest(kind) * 1000:.0f})"


@contextlib.asynccontextmanager
async def served(database_url: str, memory: int | None) -> AsyncIterator[Process]:
    """Run the service as operators do, with one worker and at most ``memory`` megabytes of data."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "ABACUS_DATABASE_URL": database_url}
    command = [sys.executable, "-m", "app.cli", "serve", "--port", str(port)]
    log = asyncio.subprocess.DEVNULL
    started = await asyncio.create_subprocess_exec(*command, env=environment, stdout=log, stderr=log)
    if memory:
        resource.prlimit(started.pid, resource.RLIMIT_DATA, (memory * MIB, memory * MIB))
    process = Process(port, started.pid)
    try:
        async with httpx.AsyncClient() as http, asyncio.timeout(60):
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if (await http.get(f"http://127.0.0.1:{port}/_readyz")).status_code == 200:
                        break
                await asyncio.sleep(0.1)
        yield process
        process.has_ended = started.returncode is not None
    finally:
        with contextlib.suppress(ProcessLookupError):
            started.terminate()
        try:
            async with asyncio.timeout(10):
                await started.wait()
        except TimeoutError:
            started.kill()
            await started.wait()


async def new_project(database_url: str, http: httpx.AsyncClient, port: int) -> Attacker:
    database = Database(Settings(database_url=database_url))
    unique = uuid4().hex[:8]
    async with database.write() as session:
        made = await AccountService(session).set_up_project(
            name=unique, email=f"{unique}@example.com", organization_name=unique, timezone="UTC"
        )
        attacker = Attacker(http, port, made.project.id, made.project.api_token, made.personal_api_key)
    await database.close()
    return attacker


async def new_neighbor(database_url: str, http: httpx.AsyncClient, port: int) -> Neighbor:
    project = await new_project(database_url, http, port)
    body = docs.experiment("neighbor", start_date="2024-01-01T00:00:00Z", end_date=None)
    _, experiment = await project.create("/experiments/", body)
    for variant in ("control", "test"):
        properties = {"$feature/neighbor": variant}
        await project.capture([event("step 0", f"{variant} {number}", properties) for number in range(500)])
    return Neighbor(project.project_id, project.token, project.key, experiment)


async def try_attack(attack: Attack, database_url: str, options: Options) -> Outcome:
    async with (
        served(database_url, options.memory) as process,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{process.port}", timeout=PATIENCE_SECONDS) as http,
    ):
        neighbor = await new_neighbor(database_url, http, process.port)
        attacker = await new_project(database_url, http, process.port)
        if attack.prepare is not None:
            await attack.prepare(attacker)
        with watching(process.port, neighbor) as watcher:
            await asyncio.sleep(1)  # the first answers of a new process are slow
            alone_from = time.monotonic()
            await asyncio.sleep(ALONE_SECONDS)
            process.forget_peak()
            before, started = process.megabytes("VmRSS"), time.monotonic()
            statuses = await send(attack, attacker)
            ended = time.monotonic()
            added = process.megabytes("VmHWM") - before
            await asyncio.sleep(0.5)
            has_ended = not process.megabytes("VmRSS")
            samples = await asyncio.to_thread(watcher.finish)
    return judged(
        attack.sender,
        Outcome(
            Counter(statuses),
            ended - started,
            max(0.0, added),
            samples.between(alone_from, started - 0.1),
            samples.between(started, ended),
            has_ended,
        ),
    )


async def send(attack: Attack, attacker: Attacker) -> list[int]:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await attack.send(attacker)
    except (httpx.HTTPError, TimeoutError, ConnectionError):
        return [NOT_ANSWERED]


def judged(sender: Sender, outcome: Outcome, megabytes: int | None = MEMORY_BAR_MB) -> Outcome:
    """Name the bars that were missed; ``megabytes`` is None where the limit of the process is the bar."""
    if any(status >= 500 for status in outcome.statuses):
        outcome.missed.append("status")
    if outcome.meanwhile.slowest("livez") * 1000 > BAR_MS[sender]:
        outcome.missed.append("stall")
    if megabytes is not None and outcome.megabytes > megabytes:
        outcome.missed.append("memory")
    if outcome.has_ended:
        outcome.missed.append("the process ended")
    return outcome


async def mixed_load(database_url: str, options: Options) -> Outcome:
    """Send large and ordinary events, and read, for some minutes."""
    async with (
        served(database_url, options.memory) as process,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{process.port}", timeout=PATIENCE_SECONDS) as http,
    ):
        neighbor = await new_neighbor(database_url, http, process.port)
        attacker = await new_project(database_url, http, process.port)
        made, experiment = await attacker.create(
            "/experiments/", docs.experiment("attack", start_date="2024-01-01T00:00:00Z", end_date=None)
        )
        statuses = Counter([made])

        async def large(number: int) -> int:
            note = {"note": "x" * (MIB - 1_000), "$feature/attack": ("control", "test")[number % 2]}
            return await attacker.capture([event("step 0", f"p{number % 50}", note)])

        async def batch(number: int) -> int:
            sent = [event("step 0", f"p{number}-{place}", {"$feature/attack": "test"}) for place in range(1_000)]
            return await attacker.capture(sent)

        async def person(number: int) -> int:
            return await attacker.capture([event("$set", "ann", {"$set": {f"k{number}": "x" * 60_000}})])

        async def read(path: str) -> int:
            return (await attacker.member("GET", path)).status_code

        async def keep(number: int, until: float) -> None:
            """Do one thing after another; each task begins with another one."""
            while time.monotonic() < until:
                number += 1
                kinds = (large, large, batch, person)
                try:
                    statuses[await kinds[number % 4](number)] += 1
                    statuses[await read(("/events/?limit=100", f"/experiments/{experiment}/results/")[number % 2])] += 1
                    statuses[await attacker.flags()] += 1
                except httpx.HTTPError:
                    statuses[NOT_ANSWERED] += 1
                await asyncio.sleep(0.1)

        with watching(process.port, neighbor) as watcher:
            alone_from = time.monotonic()
            await asyncio.sleep(ALONE_SECONDS)
            process.forget_peak()
            before, started = process.megabytes("VmRSS"), time.monotonic()
            until = started + options.minutes * 60
            await asyncio.gather(*(keep(number, until) for number in range(4)))
            ended = time.monotonic()
            added = process.megabytes("VmHWM") - before
            samples = await asyncio.to_thread(watcher.finish)
            has_ended = not process.megabytes("VmRSS")
    alone, meanwhile = samples.between(alone_from, started - 0.1), samples.between(started, ended)
    outcome = Outcome(statuses, ended - started, added, alone, meanwhile, has_ended)
    return judged("member", outcome, None if options.memory else MEMORY_BAR_MB)


def line(row: str, name: str, outcome: Outcome) -> str:
    statuses = " ".join(
        f"{'none' if status == NOT_ANSWERED else status}{f'x{count}' if count > 1 else ''}"
        for status, count in sorted(outcome.statuses.items())
    )
    stall, alone = outcome.meanwhile.slowest("livez") * 1000, outcome.alone.slowest("livez") * 1000
    return (
        f"{row:5} {name:48} {statuses:18} {outcome.seconds:7.1f} s  stall {stall:7.0f} ms (alone {alone:4.0f})"
        f"  +{outcome.megabytes:5.0f} MB  results {outcome.compare('results')}  captures {outcome.compare('capture')}"
        f"  {'MISSED: ' + ', '.join(outcome.missed) if outcome.missed else 'held'}"
    )


async def measure(options: Options) -> bool:
    """Return whether all bars were held."""
    is_held = True
    with tempfile.TemporaryDirectory() as folder:
        template = Path(folder) / "template.db"
        await asyncio.to_thread(
            migrations.upgrade, Settings(database_url=options.database_url or f"sqlite:///{template}")
        )

        def fresh() -> str:
            return options.database_url or f"sqlite:///{copy(template, Path(folder) / f'{uuid4().hex}.db')}"

        for attack in ATTACKS:
            if not options.only or attack.row in options.only:
                outcome = await try_attack(attack, fresh(), options)
                print(line(attack.row, attack.name, outcome), flush=True)
                is_held &= not outcome.missed
        if options.minutes:
            outcome = await mixed_load(fresh(), options)
            print(line("mixed", f"{options.minutes:g} minutes of large events", outcome), flush=True)
            is_held &= not outcome.missed
    return is_held


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], help="rows, as L1 L2")
    parser.add_argument(
        "--database-url", help="an empty database; a SQLite file of its own for each attack unless named"
    )
    parser.add_argument("--memory", type=int, help="mebibytes of data that the service may have")
    parser.add_argument("--minutes", type=float, default=1.0, help="of mixed load, afterwards")
    arguments = parser.parse_args()
    options = Options(arguments.database_url, arguments.memory, arguments.minutes, arguments.only)
    sys.exit(not asyncio.run(measure(options)))


if __name__ == "__main__":
    main()
