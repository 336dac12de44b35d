"""What people wait for, over HTTP: answers of all kinds, beside an experiment's record and beside the peer.

python -m benchmarks.waiting [--events 1000000] [--rounds 5] [--database PostgreSQL] [--only answers capture]

Each database has a service with one worker; the peer is described in ``benchmarks.peer``, and takes part where chDB is
installed (the extra ``dev``). All take turns in every round, so that a slow moment of the machine falls on all.
What is printed are medians, their ratios in the same run, and the ratio that they are to stay below, or above. Then
follow batches of 1,000 events, with one worker and with two, flags, and bytes on disk.
"""

import argparse
import asyncio
import contextlib
import itertools
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import uvloop
from sqlalchemy import text

from app.accounts.projects.service import AccountService
from app.common.timestamps import from_microseconds
from app.db.database import Database
from app.events.appending.repository import NewEvent
from app.experiments.dependencies import build_experiments
from app.experiments.schemas import ExperimentCreate
from benchmarks import flags, ingestion, peer, sizes
from benchmarks.clients import get, post, send
from benchmarks.serving import Served, served
from benchmarks.workload import END, FLAG, START, STEPS, VARIANTS, databases, generate, load

PAGEVIEW = {"id": "$pageview", "type": "events", "order": 0}
FILTERS: dict[str, dict[str, Any]] = {
    "funnel": {
        "insight": "FUNNELS",
        "funnel_window_interval": 14,
        "funnel_window_interval_unit": "day",
        "events": [{"id": name, "type": "events", "order": place} for place, name in enumerate(STEPS)],
    },
    "total": {"insight": "TRENDS", "events": [PAGEVIEW]},
    "dau": {"insight": "TRENDS", "events": [{**PAGEVIEW, "math": "dau"}]},
}
SPLIT = [{"key": key, "rollout_percentage": 50} for key in VARIANTS[:2]]
FIRST, BY_EXPOSURE, RECOUNT = "first answer", "first answer by exposure", "refresh=true"
STORED = "first answer, facts stored"  # which the answer does not wait for
REPEATED, AFTER_MORE = "nothing new", "1,000 new"
NEW_EVENTS = 1_000
REPEATS = 10
_SECONDS_BETWEEN_LOOKS = 0.02
LARGE = 5_000_000  # from this many events on, other bars hold


@dataclass
class Contestant:
    """A database and its service; ``milliseconds`` are measured, by metric and by what was asked."""

    name: str
    database: Database
    service: Served
    path: str
    key: str
    token: str
    experiments: dict[str, int]
    milliseconds: defaultdict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))

    async def ask(self, path: str, times: int = 1) -> float:
        """Return the milliseconds that an answer takes."""
        request = get(f"{self.path}/{path}", self.key)
        return await send(self.service.port, itertools.repeat(request, times), 1) / times * 1000

    async def forget(self) -> None:
        """Remove all series, so that the next question about any metric is the first one."""
        async with self.database.write() as session:
            await session.execute(
                text("DELETE FROM series_fact" if self.database.is_sqlite else "TRUNCATE series_fact")
            )
            for table in ("series_variant", "series", "count"):
                await session.execute(text(f'DELETE FROM "{table}"'))

    async def answer_first(self) -> None:
        for metric, number in self.experiments.items():
            await self.forget()
            started = time.monotonic()
            self._note(metric, FIRST, await self.ask(f"experiments/{number}/results/"))
            await self.all_are_stored()
            self._note(metric, STORED, (time.monotonic() - started) * 1000)
        await self.forget()
        number = self.experiments["funnel"]
        self._note("funnel", BY_EXPOSURE, await self.ask(f"experiments/{number}/results/?attribution=exposure"))
        for number in self.experiments.values():
            await self.ask(f"experiments/{number}/results/")
        await self.all_are_stored()

    async def all_are_stored(self) -> None:
        """Wait until the service has stored the facts that it counted."""
        behind = text("SELECT count(*) FROM series WHERE watermark < (SELECT max(sequence) FROM event)")
        count = 1
        while count:
            async with self.database.read() as session:
                count = await session.scalar(behind)
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)

    async def answer_again(self) -> None:
        for metric, number in self.experiments.items():
            path = f"experiments/{number}/"
            self._note(metric, RECOUNT, await self.ask(f"{path}results/?refresh=true"))
            self._note(metric, REPEATED, await self.ask(f"{path}results/", REPEATS))
            self._note("", "an experiment", await self.ask(path, REPEATS))

    async def answer_after(self, more: Iterator[NewEvent]) -> None:
        for metric, number in self.experiments.items():
            body = _batch(self.token, list(itertools.islice(more, NEW_EVENTS)))
            await send(self.service.port, [post("/batch/", body)], 1)
            self._note(metric, AFTER_MORE, await self.ask(f"experiments/{number}/results/"))

    def _note(self, metric: str, kind: str, milliseconds: float) -> None:
        self.milliseconds[metric, kind].append(milliseconds)

    def median(self, metric: str, kind: str) -> float:
        return statistics.median(self.milliseconds[metric, kind])


def _batch(token: str, events: Sequence[NewEvent]) -> bytes:
    batch = [
        {
            "event": event.name,
            "distinct_id": event.distinct_id,
            "uuid": str(event.uuid),
            "timestamp": from_microseconds(event.time).isoformat(),
            "properties": msgspec.Raw(event.properties.encode()),
        }
        for event in events
    ]
    return msgspec.json.encode({"api_key": token, "batch": batch})


async def prepare(name: str, database: Database, events: int, stack: contextlib.AsyncExitStack) -> Contestant:
    """Make an experiment for each metric, all with one flag, and store events."""
    async with database.write() as session:
        made = await AccountService(session).set_up_project(
            name="Benchmark", email="benchmark@example.com", organization_name="Benchmark", timezone="UTC"
        )
        experiments, numbers = build_experiments(session, made.project.id), {}
        for metric, filters in FILTERS.items():
            body = {"name": metric, "feature_flag_key": FLAG, "allow_existing_flag": True, "filters": filters}
            body |= {"start_date": START.isoformat(), "end_date": END.isoformat()}
            body["parameters"] = {"feature_flag_variants": SPLIT}
            numbers[metric] = (await experiments.create(ExperimentCreate.model_validate(body), made.user)).id
    await load(database, made.project.id, generate(events))
    service = await stack.enter_async_context(served(database, results_timeout=3600))
    path = f"/api/projects/{made.project.id}"
    return Contestant(name, database, service, path, made.personal_api_key, made.project.api_token, numbers)


async def measure_answers(chosen: Sequence[str], events: int, rounds: int) -> None:
    async with (
        databases(*chosen) as opened,
        contextlib.AsyncExitStack() as stack,
        peer.started(events) as other,
    ):
        contestants = [await prepare(name, database, events, stack) for name, database in opened.items()]
        of_peer: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        more = [generate(10**9, persons=events // 10, seed=2) for _ in contestants]
        for _ in range(rounds):
            for contestant, new in zip(contestants, more, strict=True):
                await contestant.answer_first()
                await contestant.answer_again()
                await contestant.answer_after(new)
            for metric, way in itertools.product(FILTERS, peer.WAYS):
                if other is not None:
                    of_peer[metric, way].append(await other.milliseconds(metric, way))
        theirs = {case: statistics.median(taken) for case, taken in of_peer.items()}
        for contestant in contestants:
            report(contestant, theirs, is_large=events >= LARGE)


def report(own: Contestant, theirs: dict[tuple[str, str], float], *, is_large: bool) -> None:
    shown = ", ".join(f"{way} {theirs[case]:,.0f}" for case in theirs for way in [" ".join(case)])
    record = own.median("", "an experiment")
    print(f"\n{own.name}: an experiment {record:.1f} ms   peer, ms: {shown or 'not installed'}")
    print(f"{'':36} {'ms':>9} {'of GET':>7} {'of peer':>8}   bar")
    for (metric, kind), _ in sorted(own.milliseconds.items(), key=lambda one: (one[0][1], one[0][0])):
        if not metric:
            continue
        milliseconds = own.median(metric, kind)
        of_peer = milliseconds / theirs[metric, peer.JOINED] if theirs else float("nan")
        bar = _bar(kind, own.name, is_large=is_large)
        verdict = ""
        if bar is not None:
            relation, limit = bar
            ratio = {"of GET": milliseconds / record, "of peer": of_peer, "seconds": milliseconds / 1000}[relation]
            verdict = f"{relation} at most {limit:g}: {'met' if ratio <= limit else 'MISSED'}"
        print(
            f"{kind + ', ' + metric:36} {milliseconds:9,.1f} {milliseconds / record:7.1f} {of_peer:8.2f}   {verdict}",
            flush=True,
        )


def _bar(kind: str, database: str, *, is_large: bool) -> tuple[str, float] | None:
    """Return in what relation, and below what, an answer is to stay; None where that is left open."""
    of_peer = 8 if database == "SQLite" else 5
    bars: dict[str, tuple[str, float]] = {
        REPEATED: ("of GET", 2.5),
        AFTER_MORE: ("of GET", 8 if is_large else 6),
        RECOUNT: ("of peer", 1.0 if database == "SQLite" else 0.5),
        FIRST: ("seconds", 25) if is_large else ("of peer", of_peer),
        BY_EXPOSURE: ("seconds", 6) if is_large else ("of peer", 2),
    }
    return bars.get(kind)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--database", choices=["SQLite", "PostgreSQL"], nargs="+", default=["SQLite", "PostgreSQL"])
    parts = ["answers", "capture", "flags", "disk"]
    parser.add_argument("--only", choices=parts, nargs="+", default=parts)
    arguments = parser.parse_args()
    if "answers" in arguments.only:
        await measure_answers(arguments.database, arguments.events, arguments.rounds)
    if "capture" in arguments.only:
        print("\nBatches of 1,000: of rows alone at least 0.6; two workers at least 1.6 of one where cores allow")
        two = [ingestion.TWO_WORKERS] if "PostgreSQL" in arguments.database else []
        await ingestion.measure([*arguments.database, *two], [1_000], arguments.rounds, 1.0, stored=0)
    if "flags" in arguments.only:
        print("\nFlags with the person looked up (properties stored): of floor at least 0.4")
        await flags.measure(2_000, 8, arguments.rounds)
    if "disk" in arguments.only:
        print("\nBytes on disk, PostgreSQL: an event at most 520, a fact at most 80")
        async with databases(*arguments.database) as opened:
            for name, database in opened.items():
                await sizes.measure(name, database, 200_000)


if __name__ == "__main__":
    uvloop.run(main())
