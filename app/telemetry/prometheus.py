"""What the service counts about itself, for Prometheus.

One worker keeps the numbers in memory. Several share a directory, which ``abacus serve`` names before it starts them,
because a scrape reaches any one of them and has to be told about all.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

DIRECTORY_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
# Where a commit's ``session.info`` says how many events came in and how many of them were new.
CAPTURED: Final = "captured"

# The moment each series began: twice as many lines, which nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no types for it
_registry = CollectorRegistry()

REQUESTS: Final = Counter(
    "abacus_http_requests", "Requests answered.", ["method", "route", "status"], registry=_registry
)
REQUEST_SECONDS: Final = Histogram(
    "abacus_http_request_duration_seconds",
    "Time from a request's arrival to the last byte of its answer.",
    ["method", "route"],
    registry=_registry,
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
CAPTURED_EVENTS: Final = Counter(
    "abacus_capture_events",
    "Events acknowledged: stored, or known by their uuid already.",
    ["outcome"],
    registry=_registry,
)
RESULTS_SECONDS: Final = Histogram(
    "abacus_results_duration_seconds",
    "Time to work out an answer about an experiment.",
    ["kind"],
    registry=_registry,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
COUNTED_UNTIL: Final = Gauge(
    "abacus_counted_until_timestamp_seconds",
    "All events acknowledged before this moment are counted for all running experiments. The lag is now less this.",
    registry=_registry,
    multiprocess_mode="livemax",
)
CONNECTIONS: Final = Gauge(
    "abacus_database_connections_in_use",
    "Database connections at work.",
    ["pool"],
    registry=_registry,
    multiprocess_mode="livesum",
)
MOST_CONNECTIONS: Final = Gauge(
    "abacus_database_connections_limit",
    "Database connections that may be at work.",
    ["pool"],
    registry=_registry,
    multiprocess_mode="livesum",
)
LOOP_DELAY: Final = Gauge(
    "abacus_event_loop_delay_seconds",
    "How late the event loop came back to a task that had asked to be woken.",
    registry=_registry,
    multiprocess_mode="livemax",
)
ProcessCollector(registry=_registry)  # memory, processor time and open files; of one worker only


def count_captured(info: Mapping[Any, Any]) -> None:
    """Listen to commits: events count as acknowledged once they are committed."""
    if CAPTURED in info:
        received, stored = info[CAPTURED]
        CAPTURED_EVENTS.labels("accepted").inc(stored)
        CAPTURED_EVENTS.labels("duplicate").inc(received - stored)


def render() -> bytes:
    """Return all numbers in Prometheus' text format."""
    directory = os.environ.get(DIRECTORY_VARIABLE)
    if directory is None:
        return generate_latest(_registry)
    _forget_dead_workers(Path(directory))
    shared = CollectorRegistry()
    MultiProcessCollector(shared, path=directory)  # type: ignore[no-untyped-call]  # as above
    return generate_latest(shared)


def _forget_dead_workers(directory: Path) -> None:
    """Leave out gauges of workers that are no more; what they have counted stays."""
    for process_id in {int(path.stem.rpartition("_")[2]) for path in directory.glob("gauge_live*.db")}:
        if not _is_alive(process_id):
            mark_process_dead(process_id, path=str(directory))  # type: ignore[no-untyped-call]  # as above


def _is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
