"""Flags for SDKs: requests/s of /flags with 20 flags and one worker, beside the framework's floor in the same run.

python -m benchmarks.flags [--requests 2000] [--connections 8] [--rounds 3]

The flags of one project are shares alone; those of the other look at a property, which the client sends or which has to
be looked up: of a person that has it, one after the other.
"""

import argparse
import contextlib
import itertools
import json
import statistics
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import uvloop

from app.accounts.projects.service import AccountService
from app.db.database import Database
from benchmarks.clients import post, send
from benchmarks.serving import Served, served, served_floor
from benchmarks.workload import databases

FLAGS = 20
PERSONS = 500
VARIANTS = [{"key": "control", "rollout_percentage": 50}, {"key": "test", "rollout_percentage": 50}]
COUNTRY = {"key": "country", "value": ["NL", "DE"], "operator": "exact", "type": "person"}


@dataclass(frozen=True)
class Case:
    service: Served
    request: Callable[[int], bytes]  # about the person of a number

    async def measure(self, requests: int, connections: int) -> tuple[float, float]:
        """Return requests/s and the microseconds of the service's processor that one takes."""
        before = self.service.processor_seconds()
        made = (self.request(number % PERSONS) for number in range(requests))
        seconds = await send(self.service.port, made, connections)
        return requests / seconds, (self.service.processor_seconds() - before) / requests * 1e6


async def measure(requests: int, connections: int, rounds: int) -> None:
    async with databases() as opened, served_floor() as floor, contextlib.AsyncExitStack() as stack:
        cases = {"floor": Case(floor, lambda number: post("/", _question("", number)))}
        for name, database in opened.items():
            cases |= await prepare(name, database, await stack.enter_async_context(served(database)))
        measured: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for name, case in itertools.chain(cases.items(), *(cases.items() for _ in range(rounds))):
            measured[name].append(await case.measure(requests, connections))
    print(f"{'':30} {'requests/s':>10} {'us CPU':>7}   of floor")
    for name, (_warming_up, *figures) in measured.items():
        of_floor = statistics.median(
            own / theirs for (own, _), (theirs, _) in zip(figures, measured["floor"][1:], strict=True)
        )
        rate, used = (statistics.median(column) for column in zip(*figures, strict=True))
        print(f"{name:30} {rate:10,.0f} {used:7,.0f} {of_floor:10.2f}")


async def prepare(name: str, database: Database, service: Served) -> dict[str, Case]:
    async with database.write() as session:
        accounts = AccountService(session)
        made = [
            await accounts.set_up_project(
                name=kind, email="b@example.com", organization_name="Benchmark", timezone="UTC"
            )
            for kind in ("shares", "properties")
        ]
    for project, properties in zip(made, ([], [COUNTRY]), strict=True):
        requests = []
        for number in range(FLAGS):
            groups = [{"properties": properties, "rollout_percentage": 80}]
            body = {"key": f"flag-{number}", "filters": {"groups": groups, "multivariate": {"variants": VARIANTS}}}
            path = f"/api/projects/{project.project.id}/feature_flags/"
            requests.append(post(path, json.dumps(body).encode(), project.personal_api_key))
        batch = [
            {"event": "visit", "distinct_id": f"{n}", "properties": {"$set": {"country": "NL", "plan": "paid"}}}
            for n in range(PERSONS)
        ]
        requests.append(post("/batch/", json.dumps({"api_key": project.project.api_token, "batch": batch}).encode()))
        await send(service.port, requests, 1)
    shares, conditions = (project.project.api_token for project in made)
    sent = {"person_properties": {"country": "NL"}}
    return {
        f"shares, {name}": Case(service, lambda n: post("/flags/?v=2", _question(shares, n))),
        f"properties sent, {name}": Case(service, lambda n: post("/flags/?v=2", _question(conditions, n, **sent))),
        f"properties stored, {name}": Case(service, lambda n: post("/flags/?v=2", _question(conditions, n))),
    }


def _question(token: str, person: int, **sent: object) -> bytes:
    return json.dumps({"token": token, "distinct_id": f"{person}", **sent}).encode()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2_000)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    await measure(arguments.requests, arguments.connections, arguments.rounds)


if __name__ == "__main__":
    uvloop.run(main())
