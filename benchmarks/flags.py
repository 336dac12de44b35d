"""Flags for SDKs: requests/s of /flags with 20 flags, beside a FastAPI application that says hello, in the same run.

python -m benchmarks.flags [--requests 2000] [--connections 8] [--rounds 3]
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import time

from app.database import Database
from app.projects.service import AccountService
from benchmarks.api import Client
from benchmarks.serving import served, served_factory
from benchmarks.workload import databases

FLAGS = 20
VARIANTS = [{"key": "control", "rollout_percentage": 50}, {"key": "test", "rollout_percentage": 50}]
COUNTRY = {"key": "country", "value": ["NL", "DE"], "operator": "exact", "type": "person"}


class Asker(Client):
    """Asks for the flags of one person after the other."""

    def __init__(self, port: int, key: str, body: dict[str, object]) -> None:
        super().__init__(port, key)
        content = json.dumps(body).encode()
        head = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        self._request = f"POST /flags/?v=2 HTTP/1.1\r\n{head}".encode() + content

    async def rate(self, path: str, requests: int, connections: int) -> float:  # noqa: ARG002  # it has one address
        await self._send(self._request, 20)
        start = time.perf_counter()
        await asyncio.gather(*(self._send(self._request, requests // connections) for _ in range(connections)))
        return requests // connections * connections / (time.perf_counter() - start)


async def measure(requests: int, connections: int, rounds: int) -> None:
    async with databases() as opened, contextlib.AsyncExitStack() as stack:
        port = await stack.enter_async_context(served_factory("benchmarks.api:hello"))
        cases: dict[str, Client] = {"hello": Client(port)}
        for name, database in opened.items():
            cases |= await prepare(name, database, await stack.enter_async_context(served(database)))
        rates: dict[str, list[float]] = {case: [] for case in cases}
        for _ in range(rounds):  # taking turns, so that a slow moment of the machine falls on all
            for case, client in cases.items():
                rates[case].append(await client.rate("/", requests, connections))
    floor = statistics.median(rates["hello"])
    for case, measured in rates.items():
        rate = statistics.median(measured)
        print(f"{case:34} {rate:7,.0f} requests/s   ratio {rate / floor:.3f}")


async def prepare(name: str, database: Database, port: int) -> dict[str, Client]:
    """Make one project whose flags are shares, and one whose flags look at a property."""
    async with database.write() as session:
        accounts = AccountService(session)
        made = [
            await accounts.set_up_project(
                name=kind, email="b@example.com", organization_name="Benchmark", timezone="UTC"
            )
            for kind in ("shares", "properties")
        ]
    for project, properties in zip(made, ([], [COUNTRY]), strict=True):
        client = Client(port, project.personal_api_key)
        for number in range(FLAGS):
            groups = [{"properties": properties, "rollout_percentage": 80}]
            body = {"key": f"flag-{number}", "filters": {"groups": groups, "multivariate": {"variants": VARIANTS}}}
            await client.post(f"/api/projects/{project.project.id}/feature_flags/", body)
        event = {"event": "visit", "distinct_id": "ann", "properties": {"$set": {"country": "NL", "plan": "paid"}}}
        await client.post("/batch/", {"api_key": project.project.api_token, "batch": [event]})
    shares, conditions = (project.project.api_token for project in made)
    sent = {"person_properties": {"country": "NL"}}
    return {
        f"shares, {name}": Asker(port, "", {"token": shares, "distinct_id": "ann"}),
        f"properties sent, {name}": Asker(port, "", {"token": conditions, "distinct_id": "ann", **sent}),
        f"properties stored, {name}": Asker(port, "", {"token": conditions, "distinct_id": "ann"}),
    }


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2_000)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    await measure(arguments.requests, arguments.connections, arguments.rounds)


if __name__ == "__main__":
    asyncio.run(main())
