"""Prometheus metrics of the service.

A single worker keeps them in memory. Several workers share a directory, which ``abacus serve`` names before it starts
them, because a scrape reaches one worker and has to report on all.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

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
CAPTURED: Final = "captured"  # the key of ``session.info`` under which capture notes what it stored

# Without the creation time of each time series, which would double the number of lines.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no types for it
_registry = CollectorRegistry()

REQUESTS: Final = Counter("abacus_http_requests", "HTTP requests.", ["method", "route", "status"], registry=_registry)
REQUEST_SECONDS: Final = Histogram(
    "abacus_http_request_duration_seconds",
    "Time from the arrival of a request to the last byte of its response.",
    ["method", "route"],
    registry=_registry,
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
CAPTURED_EVENTS: Final = Counter(
    "abacus_capture_events",
    "Acknowledged events: stored, or already known by their uuid.",
    ["outcome"],
    registry=_registry,
)
UNREAD_TIMESTAMPS: Final = Counter(
    "abacus_capture_unread_timestamps",
    "Stored events whose time could not be read: they count at the time of arrival.",
    registry=_registry,
)
LEFT_OUT: Final = Counter(
    "abacus_properties_left_out",
    "Properties of persons and groups that were not stored because of the limits on their number and size.",
    ["subject"],
    registry=_registry,
)
REFUSED_MERGES: Final = Counter(
    "abacus_refused_merges",
    "Identifications that did not join two persons because one would have had too many distinct ids.",
    registry=_registry,
)
RESULTS_SECONDS: Final = Histogram(
    "abacus_results_duration_seconds",
    "Time to compute results of an experiment.",
    ["kind"],
    registry=_registry,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
COUNTED_UNTIL: Final = Gauge(
    "abacus_counted_until_timestamp_seconds",
    "All events acknowledged before this time are counted for all running experiments. The lag is now minus this.",
    registry=_registry,
    multiprocess_mode="livemax",
)
CLICKHOUSE_ERRORS: Final = Counter(
    "abacus_clickhouse_errors", "Statements that ClickHouse did not run, and may run later.", registry=_registry
)
ARCHIVED_UNTIL: Final = Gauge(
    "abacus_events_archived_until_timestamp_seconds",
    "All events acknowledged before this time are in ClickHouse too. The lag is now minus this.",
    registry=_registry,
    multiprocess_mode="livemax",
)
CONNECTIONS: Final = Gauge(
    "abacus_database_connections_in_use",
    "Database connections in use.",
    ["pool"],
    registry=_registry,
    multiprocess_mode="livesum",
)
MOST_CONNECTIONS: Final = Gauge(
    "abacus_database_connections_limit",
    "Maximum number of database connections.",
    ["pool"],
    registry=_registry,
    multiprocess_mode="livesum",
)
LOOP_DELAY: Final = Gauge(
    "abacus_event_loop_delay_seconds",
    "Delay between the time a task asked to be woken and the time the event loop woke it.",
    registry=_registry,
    multiprocess_mode="livemax",
)
ProcessCollector(registry=_registry)  # memory, CPU time and open files; only without multiple workers


class Captured(NamedTuple):
    """How many events capture received in a transaction, how many of them were new, and how many of an unread time."""

    received: int
    stored: int
    unread_timestamps: int


def count_captured(info: Mapping[Any, Any]) -> None:
    """Count captured events, as a commit listener: they are acknowledged once they are committed."""
    if CAPTURED in info:
        captured: Captured = info[CAPTURED]
        CAPTURED_EVENTS.labels("accepted").inc(captured.stored)
        CAPTURED_EVENTS.labels("duplicate").inc(captured.received - captured.stored)
        UNREAD_TIMESTAMPS.inc(captured.unread_timestamps)


def render() -> bytes:
    """Return all metrics in the text format of Prometheus."""
    directory = os.environ.get(DIRECTORY_VARIABLE)
    if directory is None:
        return generate_latest(_registry)
    _remove_dead_workers(Path(directory))
    shared = CollectorRegistry()
    MultiProcessCollector(shared, path=directory)  # type: ignore[no-untyped-call]  # as above
    return generate_latest(shared)


def _remove_dead_workers(directory: Path) -> None:
    """Remove the gauges of workers that no longer exist; their counters stay."""
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
