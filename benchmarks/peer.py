"""The peer: query shapes of PostHog's experiments of 2022 on ClickHouse, over the events of ``benchmarks.workload``.

ClickHouse is embedded (chDB) in a process of its own, which keeps the events with their variants in
materialized columns. A query either joins the persons of distinct ids, as in 2022, or reads the person off the event.
"""

import asyncio
import contextlib
import importlib
import importlib.util
import itertools
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from benchmarks.workload import END, FLAG, START, STEPS, generate

WAYS = JOINED, ON_EVENT = "materialized columns", "person on event"
_WINDOW: Final = "INTERVAL 14 DAY"
TABLES: Final = (
    """CREATE TABLE event (
        uuid UUID, event String, properties String CODEC(ZSTD(3)), timestamp DateTime64(6, 'UTC'), team_id Int64,
        distinct_id String, person_id UInt64,
        variant String MATERIALIZED JSONExtractString(properties, '$feature/{flag}'),
        flag String MATERIALIZED JSONExtractString(properties, '$feature_flag'),
        response String MATERIALIZED JSONExtractString(properties, '$feature_flag_response')
    ) ENGINE = MergeTree PARTITION BY toYYYYMM(timestamp)
    ORDER BY (team_id, toDate(timestamp), event, cityHash64(distinct_id), cityHash64(uuid))""",
    """CREATE TABLE person_of (team_id Int64, distinct_id String, person_id UInt64)
    ENGINE = MergeTree ORDER BY (team_id, distinct_id)""",
)
_EVENT_COLUMNS: Final = "uuid UUID, event String, distinct_id String, person_id UInt64, micros Int64, properties String"


class _Session(Protocol):
    def query(self, text: str, form: str = ...) -> object: ...


def is_installed() -> bool:
    return importlib.util.find_spec("chdb") is not None


def _between(names: Sequence[str], prefix: str = "") -> str:
    listed = ", ".join(f"'{name}'" for name in names)
    return (
        f"{prefix}team_id = 1 AND {prefix}event IN ({listed}) AND {prefix}timestamp >= toDateTime64('{START:%F %T}', 6)"
        f" AND {prefix}timestamp <= toDateTime64('{END:%F %T}', 6)"
    )


def _events(columns: str, names: Sequence[str], person: str) -> str:
    """Return the query of events with the person of each, who is called ``target``."""
    if person == ON_EVENT:
        return f"SELECT e.person_id AS target, {columns} FROM event AS e WHERE {_between(names, 'e.')}"
    persons = "SELECT distinct_id, any(person_id) AS person FROM person_of WHERE team_id = 1 GROUP BY distinct_id"
    return (
        f"SELECT p.person AS target, {columns} FROM event AS e INNER JOIN ({persons}) AS p"
        f" ON e.distinct_id = p.distinct_id WHERE {_between(names, 'e.')}"
    )


def _funnel(person: str) -> list[str]:
    """Return the funnel with its times, by the variant that a person named first, and the query of its variants."""
    over = "OVER (PARTITION BY target, variant ORDER BY time DESC ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
    events = _events("e.timestamp AS time, e.event AS name, e.variant AS own", STEPS, person)
    flags = ", ".join(f"if(name = '{name}', time, NULL) AS at_{place}" for place, name in enumerate(STEPS))
    steps = (
        f"SELECT target, time, {flags}, argMinIf(own, time, own != '') OVER (PARTITION BY target) AS variant"
        f" FROM ({events})"
    )
    first = f"SELECT target, time, variant, at_0, min(at_1) {over} AS at_1, min(at_2) {over} AS at_2 FROM ({steps})"
    ordered = f"SELECT target, time, variant, at_0, at_1, if(at_2 < at_1, NULL, at_2) AS at_2 FROM ({first})"
    second = f"SELECT target, variant, at_0, at_1, min(at_2) {over} AS at_2 FROM ({ordered})"
    reached = f"at_0 <= at_1 AND at_1 <= at_0 + {_WINDOW}"
    tries = (
        f"SELECT target, variant, if({reached} AND at_1 <= at_2 AND at_2 <= at_0 + {_WINDOW}, 3, if({reached}, 2, 1))"
        " AS steps, if(steps > 1, dateDiff('second', at_0, at_1), NULL) AS to_1,"
        f" if(steps > 2, dateDiff('second', at_1, at_2), NULL) AS to_2 FROM ({second}) WHERE at_0 IS NOT NULL"
    )
    best = f"SELECT *, max(steps) OVER (PARTITION BY target, variant) AS most FROM ({tries})"
    persons = (
        "SELECT target, variant, steps, avg(to_1) AS mean_1, avg(to_2) AS mean_2, median(to_1) AS median_1,"
        f" median(to_2) AS median_2 FROM ({best}) WHERE steps = most GROUP BY target, variant, steps"
    )
    counts = (
        "SELECT variant, count(), countIf(steps > 1), countIf(steps > 2), avg(mean_1), avg(mean_2), median(median_1),"
        f" median(median_2) FROM ({persons}) GROUP BY variant ORDER BY variant FORMAT JSONCompact"
    )
    return [_variants("variant", STEPS), counts]


def _variants(column: str, names: Sequence[str]) -> str:
    return (
        f"SELECT {column} AS value, count() AS n FROM event WHERE {_between(names)} GROUP BY value"
        " ORDER BY n DESC LIMIT 25 FORMAT JSONCompact"
    )


def _trend(person: str, *, by_person: bool) -> list[str]:
    """Return a trend of page views by day, the persons exposed by day, and the queries of the variants of both."""
    metric = (
        f"SELECT variant, toStartOfDay(timestamp) AS day, count() FROM event WHERE {_between(['$pageview'])}"
        " AND variant != '' GROUP BY variant, day ORDER BY variant, day FORMAT JSONCompact"
    )
    if by_person:
        metric = _by_day("e.variant", ["$pageview"], person)
    exposure = _by_day("e.response", ["$feature_flag_called"], person)
    return [
        _variants("variant", ["$pageview"]),
        _variants("response", ["$feature_flag_called"]),
        metric,
        exposure,
    ]


def _by_day(variant: str, names: Sequence[str], person: str) -> str:
    """Return the persons of each variant by the day of their first event."""
    events = _events(f"e.timestamp AS time, {variant} AS variant", names, person)
    firsts = (
        f"SELECT target, variant, toStartOfDay(min(time)) AS day FROM ({events}) WHERE variant != ''"
        " GROUP BY target, variant"
    )
    return (
        f"SELECT variant, day, count() FROM ({firsts}) GROUP BY variant, day ORDER BY variant, day FORMAT JSONCompact"
    )


def queries() -> Mapping[str, list[str]]:
    """Return the queries of each answer, by its name and the way in which it finds persons."""
    found = {}
    for person in (JOINED, ON_EVENT):
        found[f"funnel, {person}"] = _funnel(person)
        found[f"total, {person}"] = _trend(person, by_person=False)
        found[f"dau, {person}"] = _trend(person, by_person=True)
    return found


@dataclass(frozen=True)
class Peer:
    """The started process."""

    process: asyncio.subprocess.Process

    async def milliseconds(self, metric: str, person: str) -> float:
        """Return how long the queries of an answer take together."""
        return float(await self._ask(f"{metric}, {person}"))

    async def counts(self, metric: str) -> str:
        """Return the last answer of a metric, as JSON."""
        return await self._ask(f"show {metric}, {JOINED}")

    async def _ask(self, question: str) -> str:
        stdin, stdout = self.process.stdin, self.process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the process has no pipes")
        stdin.write(f"{question}\n".encode())
        await stdin.drain()
        answer = (await stdout.readline()).decode().strip()
        if not answer:
            raise RuntimeError(f"the peer ended at {question!r}")
        return answer


@contextlib.asynccontextmanager
async def started(events: int) -> AsyncIterator[Peer | None]:
    """Yield the peer with as many events as ``benchmarks.workload`` generates; None where it is not installed."""
    if not is_installed():
        yield None
        return
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.peer", str(events),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        if process.stdout is None or not await process.stdout.readline():
            raise RuntimeError("the peer did not start")
        yield Peer(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def _load(session: _Session, folder: Path, count: int) -> None:
    for statement in TABLES:
        session.query(statement.replace("{flag}", FLAG))
    source, events = folder / "events.tsv", generate(count)
    while some := list(itertools.islice(events, 500_000)):
        with source.open("w") as file:
            file.writelines(
                f"{one.uuid}\t{one.name}\t{one.distinct_id}\t{one.person_id}\t{one.time}\t{one.properties}\n"
                for one in some
            )
        session.query(
            "INSERT INTO event (uuid, event, properties, timestamp, team_id, distinct_id, person_id)"
            " SELECT uuid, event, properties, fromUnixTimestamp64Micro(micros, 'UTC'), 1, distinct_id, person_id"
            f" FROM file('{source}', 'TSV', '{_EVENT_COLUMNS}')"
        )
    session.query("INSERT INTO person_of SELECT DISTINCT team_id, distinct_id, person_id FROM event")
    session.query("OPTIMIZE TABLE event FINAL")
    session.query("OPTIMIZE TABLE person_of FINAL")


def main() -> None:
    open_session: Any = importlib.import_module("chdb.session").Session  # only where it is installed, and untyped
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(str(Path(folder) / "database"))
        _load(session, Path(folder), int(sys.argv[1]))
        known = queries()
        print("ready", flush=True)
        for line in sys.stdin:
            question = line.strip()
            asked = known[question.removeprefix("show ")]
            start = time.perf_counter()
            answers = [session.query(query, "JSONCompact") for query in asked]
            taken = (time.perf_counter() - start) * 1000
            shown = str(answers[-1]).replace("\n", " ") if question.startswith("show ") else f"{taken:.3f}"
            print(shown, flush=True)


if __name__ == "__main__":
    main()
