"""Single events: requests/s of POST /capture/ over many connections, alone and sharing commits, in the same run.

python -m benchmarks.capture [--requests 4000] [--connections 64] [--rounds 3]
"""

import argparse
import asyncio
import contextlib
import itertools
import statistics
import time
from collections.abc import Iterator

import msgspec
from fastapi import FastAPI

from app.capture import service
from app.database import Database
from app.main import create_app
from app.projects.service import AccountService
from benchmarks.serving import served, served_factory
from benchmarks.workload import databases, generate

PERSONS = 200


def ungathered() -> FastAPI:
    """The service as it is, but for every request having a commit of its own."""
    service.GATHERED_EVENTS = 0
    return create_app()


class Sender:
    """Connections that send one event after the other, each a new one: as little work as a client can do."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._requests = _requests(token)
        self.seconds: list[float] = []

    async def rate(self, requests: int, connections: int) -> float:
        """Return requests/s."""
        self.seconds.clear()
        start = time.perf_counter()
        await asyncio.gather(*(self._send(requests // connections) for _ in range(connections)))
        return requests // connections * connections / (time.perf_counter() - start)

    async def _send(self, times: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        with contextlib.closing(writer):
            for request in itertools.islice(self._requests, times):
                start = time.perf_counter()
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                if not head.startswith(b"HTTP/1.1 200"):
                    raise RuntimeError(head.decode())
                await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]))
                self.seconds.append(time.perf_counter() - start)


def _requests(token: str) -> Iterator[bytes]:
    properties = [msgspec.Raw(event.properties.encode()) for event in generate(1_000)]
    for number in itertools.count():
        event = {
            "api_key": token,
            "event": "purchase",
            "distinct_id": f"person-{number % PERSONS}",
            "properties": properties[number % len(properties)],
        }
        body = msgspec.json.encode(event)
        yield b"POST /capture/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body


async def measure(requests: int, connections: int, rounds: int) -> None:
    async with databases() as opened, contextlib.AsyncExitStack() as stack:
        cases: dict[str, Sender] = {}
        for name, database in opened.items():
            token = await prepare(database)
            alone = await stack.enter_async_context(served_factory("benchmarks.capture:ungathered", database))
            together = await stack.enter_async_context(served(database))
            cases |= {f"{name}, alone": Sender(alone, token), f"{name}, together": Sender(together, token)}
        rates: dict[str, list[float]] = {case: [] for case in cases}
        waits: dict[str, list[float]] = {case: [] for case in cases}
        for sender in cases.values():
            await sender.rate(PERSONS, 1)  # warm up: every person is known afterwards
        for _ in range(rounds):  # taking turns, so that a slow moment of the machine falls on all
            for case, sender in cases.items():
                rates[case].append(await sender.rate(requests, connections))
                waits[case].append(statistics.quantiles(sender.seconds, n=100)[98])
    for case in cases:
        print(
            f"{case:22} {statistics.median(rates[case]):7,.0f} events/s"
            f"   99 of 100 answered within {statistics.median(waits[case]) * 1000:6.1f} ms"
        )


async def prepare(database: Database) -> str:
    async with database.write() as session:
        made = await AccountService(session).set_up_project(
            name="Benchmark", email="benchmark@example.com", organization_name="Benchmark", timezone="UTC"
        )
    return made.project.api_token


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=4_000)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    await measure(arguments.requests, arguments.connections, arguments.rounds)


if __name__ == "__main__":
    asyncio.run(main())
