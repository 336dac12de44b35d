"""The private API: requests/s of retrieve and list, beside the framework's floor, in the same run.

python -m benchmarks.api [--requests 2000] [--connections 8] [--rounds 3]
"""

import argparse
import contextlib
import itertools
import statistics
from collections import defaultdict

import uvloop

from app.accounts.projects.service import AccountService
from app.db.database import Database
from app.experiments.dependencies import build_experiments
from app.experiments.schemas import ExperimentCreate
from benchmarks.clients import get, send
from benchmarks.serving import served, served_floor
from benchmarks.workload import databases
from tests.support.service import FUNNEL

LISTED = 120


async def measure(requests: int, connections: int, rounds: int) -> None:
    async with databases() as opened, served_floor() as floor, contextlib.AsyncExitStack() as stack:
        cases = {"floor": (floor.port, get("/"))}
        for name, database in opened.items():
            service = await stack.enter_async_context(served(database))
            project, key = await prepare(database)
            experiments = f"/api/projects/{project}/experiments/"
            cases |= {
                f"retrieve, {name}": (service.port, get(f"{experiments}1/", key)),
                f"list of 10, {name}": (service.port, get(f"{experiments}?limit=10", key)),
                f"list of 100, {name}": (service.port, get(f"{experiments}?limit=100", key)),
            }
        rates: dict[str, list[float]] = defaultdict(list)
        for port, request in cases.values():
            await send(port, itertools.repeat(request, 20), 1)  # warm up
        for _ in range(rounds):  # taking turns, so that a slow moment of the machine falls on all
            for case, (port, request) in cases.items():
                rates[case].append(requests / await send(port, itertools.repeat(request, requests), connections))
    for case, measured in rates.items():
        of_floor = statistics.median(own / theirs for own, theirs in zip(measured, rates["floor"], strict=True))
        print(f"{case:24} {statistics.median(measured):7,.0f} requests/s   of floor {of_floor:.3f}")


async def prepare(database: Database) -> tuple[int, str]:
    """Make experiments; return the project and a key to it."""
    async with database.write() as session:
        made = await AccountService(session).set_up_project(
            name="Benchmark", email="benchmark@example.com", organization_name="Benchmark", timezone="UTC"
        )
        experiments = build_experiments(session, made.project.id)
        for number in range(LISTED):
            body = {"name": f"Experiment {number}", "feature_flag_key": f"flag-{number}", "filters": FUNNEL}
            await experiments.create(ExperimentCreate.model_validate(body), made.user)
    return made.project.id, made.personal_api_key


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2_000)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    await measure(arguments.requests, arguments.connections, arguments.rounds)


if __name__ == "__main__":
    uvloop.run(main())
