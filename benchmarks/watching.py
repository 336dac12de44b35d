"""A process that watches a service while another one attacks it: from outside, so that the attack's own work is unseen.

It asks ``GET /_livez`` every 50 ms, and captures an event and reads results of a project that is not attacked.
"""

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from statistics import median
from typing import NamedTuple

import httpx

LIVEZ_SECONDS = 0.05
NEIGHBOR_SECONDS = 0.2
PATIENCE_SECONDS = 150


class Sample(NamedTuple):
    kind: str
    started: float  # by time.monotonic, which all processes share
    seconds: float
    is_good: bool


@dataclass(frozen=True)
class Neighbor:
    """A project with an experiment, which is not attacked."""

    project_id: int
    token: str
    key: str
    experiment_id: int


class Samples(NamedTuple):
    every: Sequence[Sample]

    def between(self, start: float, end: float) -> "Samples":
        return Samples(
            [sample for sample in self.every if start <= sample.started + sample.seconds and sample.started <= end]
        )

    def slowest(self, kind: str) -> float:
        return max((sample.seconds for sample in self.every if sample.kind == kind), default=0.0)

    def middle(self, kind: str) -> float:
        return median([sample.seconds for sample in self.every if sample.kind == kind] or [0.0])

    def refused(self) -> int:
        return sum(not sample.is_good for sample in self.every)


class Watcher:
    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def finish(self) -> Samples:
        """Return all samples, once the last answers have come."""
        self._pipe.send("finish")
        samples: Samples = self._pipe.recv()
        return samples


@contextmanager
def watching(port: int, neighbor: Neighbor) -> Iterator[Watcher]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_watch, args=(port, neighbor, theirs), daemon=True)
    process.start()
    ours.recv()  # it is ready
    try:
        yield Watcher(ours)
    finally:
        process.kill()
        process.join()


def _watch(port: int, neighbor: Neighbor, pipe: Connection) -> None:
    samples: list[Sample] = []
    stop = threading.Event()
    address = f"http://127.0.0.1:{port}"
    project = f"/api/projects/{neighbor.project_id}/experiments/{neighbor.experiment_id}"
    event = {"event": "step 0", "distinct_id": "ann", "properties": {"$feature/neighbor": "test"}}
    headers = {"Authorization": f"Bearer {neighbor.key}"}
    kinds: list[tuple[str, float, Callable[[httpx.Client], httpx.Response]]] = [
        ("livez", LIVEZ_SECONDS, lambda http: http.get("/_livez")),
        ("results", NEIGHBOR_SECONDS, lambda http: http.get(f"{project}/results/", headers=headers)),
        (
            "capture",
            NEIGHBOR_SECONDS,
            lambda http: http.post("/batch/", json={"api_key": neighbor.token, "batch": [event]}),
        ),
    ]

    def keep_asking(kind: str, pause: float, ask: Callable[[httpx.Client], httpx.Response]) -> None:
        with httpx.Client(base_url=address, timeout=PATIENCE_SECONDS) as http:
            while not stop.wait(pause):
                started, is_good = time.monotonic(), False
                with suppress(httpx.HTTPError):
                    is_good = ask(http).status_code == 200
                samples.append(Sample(kind, started, time.monotonic() - started, is_good))

    threads = [threading.Thread(target=keep_asking, args=kind) for kind in kinds]
    for thread in threads:
        thread.start()
    pipe.send("ready")
    pipe.recv()
    stop.set()
    for thread in threads:
        thread.join()
    pipe.send(Samples(samples))
