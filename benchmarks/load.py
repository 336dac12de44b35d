"""Everything at once on PostgreSQL: capture, flags, results and changes, for a while, on this machine only.

Says how many answers were not as they should be (none, one hopes), whether memory grew, and how much longer the slowest
hundredth of the answers takes than when each kind of request comes alone.

python -m benchmarks.load [--seconds 600] [--connections 16]
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import random
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import numpy as np

from app.accounts.projects.service import AccountService
from app.db.database import Database
from benchmarks.workload import databases
from tests.support.service import FUNNEL, TREND

IDLE_REQUESTS = 100
MEMORY_SECONDS = 1.0
# Of a hundred requests: mostly what SDKs send, as in life.
SHARES = {"capture": 50, "batch": 10, "flags": 25, "results": 5, "read": 6, "change": 4}
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Client:
    """Sends each kind of request and sees that the answer is right."""

    def __init__(self, http: httpx.AsyncClient, project_id: int, token: str) -> None:
        self._http = http
        self._project = f"/api/projects/{project_id}"
        self._token = token
        self._numbers = itertools.count()
        self._experiments: list[int] = []
        self.kinds: dict[str, Callable[[], Awaitable[bool]]] = {
            "capture": self._capture,
            "batch": self._batch,
            "flags": self._flags,
            "results": self._results,
            "read": self._read,
            "change": self._change,
        }

    async def prepare(self) -> None:
        for place, filters in enumerate((FUNNEL, TREND) * 2):
            body = {"name": f"Load {place}", "feature_flag_key": f"load-{place}", "filters": filters}
            made = await self._http.post(f"{self._project}/experiments/", json=body)
            made.raise_for_status()
            self._experiments.append(made.json()["id"])
            launch = {"start_date": time.strftime("%Y-%m-%dT00:00:00Z", time.gmtime())}
            (
                await self._http.patch(f"{self._project}/experiments/{self._experiments[-1]}/", json=launch)
            ).raise_for_status()
        for _ in range(20):
            await self._batch()

    def _event(self) -> dict[str, Any]:
        number = next(self._numbers)
        person = number % 5_000
        variant = "control" if person % 2 else "test"
        return {
            "event": random.choice(("$pageview", "$pageview", "purchase", "$feature_flag_called")),
            "uuid": str(uuid4()),
            "distinct_id": f"person-{person}",
            "properties": {
                **{f"$feature/load-{place}": variant for place in range(4)},
                "$feature_flag": f"load-{number % 4}",
                "$feature_flag_response": variant,
                "$current_url": f"https://example.com/{number % 100}",
            },
        }

    async def _capture(self) -> bool:
        return await self._send([self._event()])

    async def _batch(self) -> bool:
        return await self._send([self._event() for _ in range(50)])

    async def _send(self, events: list[dict[str, Any]]) -> bool:
        sent = await self._http.post("/batch/", json={"api_key": self._token, "batch": events})
        return sent.status_code == 200 and sent.json() == {"status": 1}

    async def _flags(self) -> bool:
        body = {"token": self._token, "distinct_id": f"person-{random.randrange(5_000)}"}
        answer = await self._http.post("/flags/?v=2", json=body)
        return answer.status_code == 200 and "load-0" in answer.json()["flags"]

    async def _results(self) -> bool:
        answer = await self._http.get(f"{self._project}/experiments/{random.choice(self._experiments)}/results/")
        return answer.status_code == 200 and set(answer.json()["probability"]) == {"control", "test"}

    async def _read(self) -> bool:
        answer = await self._http.get(f"{self._project}/experiments/?limit=10")
        return answer.status_code == 200 and bool(answer.json()["results"])

    async def _change(self) -> bool:
        """Create an experiment, change it and delete it again."""
        key = f"passing-{next(self._numbers)}"
        body = {"name": "Passing", "feature_flag_key": key, "filters": FUNNEL}
        made = await self._http.post(f"{self._project}/experiments/", json=body)
        if made.status_code != 201:
            return False
        path = f"{self._project}/experiments/{made.json()['id']}/"
        changed = await self._http.patch(path, json={"description": "Changed"})
        deleted = await self._http.delete(path)
        return (changed.status_code, deleted.status_code) == (200, 204)


class Measured:
    """Times of right answers in milliseconds, and how many were wrong."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = {kind: [] for kind in SHARES}
        self.wrong: Counter[str] = Counter()

    async def take(self, kind: str, client: Client) -> None:
        started = time.perf_counter()
        try:
            is_right = await client.kinds[kind]()
        except (httpx.HTTPError, ValueError, KeyError):
            is_right = False
        if is_right:
            self.times[kind].append((time.perf_counter() - started) * 1000)
        else:
            self.wrong[kind] += 1

    def percentile(self, kind: str, rank: float) -> float:
        return float(np.percentile(self.times[kind] or [np.nan], rank))


def resident_megabytes(process_id: int) -> float:
    return int(Path(f"/proc/{process_id}/statm").read_text().split()[1]) * _PAGE / 1e6


@contextlib.asynccontextmanager
async def served(database: Database) -> AsyncIterator[tuple[int, int]]:
    """Run the service as operators do, its task that counts ahead included; yield its port and process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = database.engine.url.render_as_string(hide_password=False)
    environment = {**os.environ, "ABACUS_DATABASE_URL": url}
    command = [sys.executable, "-m", "app.cli", "serve", "--port", str(port)]
    process = await asyncio.create_subprocess_exec(*command, env=environment, stderr=asyncio.subprocess.DEVNULL)
    try:
        async with httpx.AsyncClient() as http, asyncio.timeout(60):
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if (await http.get(f"http://127.0.0.1:{port}/_readyz")).status_code == 200:
                        break
                await asyncio.sleep(0.1)
        yield port, process.pid
    finally:
        process.terminate()
        await process.wait()


async def watch_memory(process_id: int, until: float, megabytes: list[float]) -> None:
    while time.monotonic() < until:
        megabytes.append(resident_megabytes(process_id))
        await asyncio.sleep(MEMORY_SECONDS)


async def measure(seconds: float, connections: int) -> None:
    async with databases() as opened:
        database = opened["PostgreSQL"]
        async with database.write() as session:
            made = await AccountService(session).set_up_project(
                name="Load", email="load@example.com", organization_name="Load", timezone="UTC"
            )
        async with served(database) as (port, process_id):
            limits = httpx.Limits(max_connections=connections)
            headers = {"Authorization": f"Bearer {made.personal_api_key}"}
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", headers=headers, limits=limits, timeout=60
            ) as http:
                client = Client(http, made.project.id, made.project.api_token)
                await client.prepare()
                idle, loaded, megabytes = Measured(), Measured(), list[float]()
                for kind in SHARES:
                    for _ in range(IDLE_REQUESTS):
                        await idle.take(kind, client)
                until = time.monotonic() + seconds
                kinds, shares = list(SHARES), list(SHARES.values())

                async def keep_asking() -> None:
                    while time.monotonic() < until:
                        [kind] = random.choices(kinds, shares)
                        await loaded.take(kind, client)

                await asyncio.gather(
                    watch_memory(process_id, until, megabytes), *(keep_asking() for _ in range(connections))
                )
    report(idle, loaded, megabytes, seconds)


def report(idle: Measured, loaded: Measured, megabytes: list[float], seconds: float) -> None:
    total = sum(map(len, loaded.times.values())) + loaded.wrong.total()
    print(f"{total:,} requests in {seconds:.0f} s, {loaded.wrong.total()} answered wrongly ({dict(loaded.wrong)})")
    for kind in SHARES:
        alone, busy = idle.percentile(kind, 99), loaded.percentile(kind, 99)
        print(
            f"{kind:8} {len(loaded.times[kind]):8,}  median {loaded.percentile(kind, 50):7.1f} ms"
            f"  p99 {busy:7.1f} ms  idle p99 {alone:6.1f} ms  ratio {busy / alone:.1f}"
        )
    tenth = max(1, len(megabytes) // 10)
    first, last = megabytes[tenth : 2 * tenth], megabytes[-tenth:]  # the very first tenth fills caches
    print(f"memory {np.mean(first):.0f} MB in the second tenth of the time, {np.mean(last):.0f} MB in the last")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--connections", type=int, default=16)
    arguments = parser.parse_args()
    await measure(arguments.seconds, arguments.connections)


if __name__ == "__main__":
    asyncio.run(main())
