"""The private API: requests/s of retrieve and list, beside a FastAPI application that says hello, in the same run.

python -m benchmarks.api [--requests 2000] [--connections 8] [--rounds 3]
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import time

from fastapi import FastAPI

from app.database import Database
from app.dependencies import build_experiments
from app.experiments.schemas import ExperimentCreate
from app.projects.service import AccountService
from benchmarks.serving import served, served_factory
from benchmarks.workload import databases
from tests.service import FUNNEL

LISTED = 120


def hello() -> FastAPI:
    application = FastAPI()

    @application.get("/")
    async def greet() -> dict[str, str]:
        return {"hello": "world"}

    return application


class Client:
    """Connections that send one prepared request over and over: as little work as a client can do."""

    def __init__(self, port: int, key: str = "") -> None:
        self._port = port
        self._key = key

    async def rate(self, path: str, requests: int, connections: int) -> float:
        """Return requests/s."""
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self._key}\r\n\r\n".encode()
        await self._send(request, 20)  # warm up
        start = time.perf_counter()
        await asyncio.gather(*(self._send(request, requests // connections) for _ in range(connections)))
        return requests // connections * connections / (time.perf_counter() - start)

    async def post(self, path: str, body: object) -> None:
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self._key}\r\n"
        length = f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        await self._send(f"{head}{length}".encode() + content, 1)

    async def _send(self, request: bytes, times: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        with contextlib.closing(writer):
            for _ in range(times):
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                if not head.startswith(b"HTTP/1.1 2"):
                    raise RuntimeError(head.decode())
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
                await reader.readexactly(length)


async def measure(requests: int, connections: int, rounds: int) -> None:
    async with databases() as opened, contextlib.AsyncExitStack() as stack:
        cases = {"hello": (Client(await stack.enter_async_context(served_factory("benchmarks.api:hello"))), "/")}
        for name, database in opened.items():
            client, project = await prepare(database, await stack.enter_async_context(served(database)))
            experiments = f"/api/projects/{project}/experiments/"
            cases |= {
                f"retrieve, {name}": (client, f"{experiments}1/"),
                f"list of 10, {name}": (client, f"{experiments}?limit=10"),
                f"list of 100, {name}": (client, f"{experiments}?limit=100"),
            }
        rates: dict[str, list[float]] = {case: [] for case in cases}
        for _ in range(rounds):  # taking turns, so that a slow moment of the machine falls on all
            for case, (client, path) in cases.items():
                rates[case].append(await client.rate(path, requests, connections))
    floor = statistics.median(rates["hello"])
    for case, measured in rates.items():
        rate = statistics.median(measured)
        print(f"{case:24} {rate:7,.0f} requests/s   ratio {rate / floor:.3f}")


async def prepare(database: Database, port: int) -> tuple[Client, int]:
    async with database.write() as session:
        made = await AccountService(session).set_up_project(
            name="Benchmark", email="benchmark@example.com", organization_name="Benchmark", timezone="UTC"
        )
        experiments = build_experiments(session, made.project.id)
        for number in range(LISTED):
            body = {"name": f"Experiment {number}", "feature_flag_key": f"flag-{number}", "filters": FUNNEL}
            await experiments.create(ExperimentCreate.model_validate(body), made.user)
    return Client(port, made.personal_api_key), made.project.id


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2_000)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    await measure(arguments.requests, arguments.connections, arguments.rounds)


if __name__ == "__main__":
    asyncio.run(main())
