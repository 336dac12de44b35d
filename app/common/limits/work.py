"""Limits of what requests and background tasks read, count and remove at a time."""

from typing import Final

from app.common.limits.limit import KIB, MIB, Limit

ANALYZED_VARIANTS_BYTES: Final = Limit(
    "body of `analyze/` and `power/`",
    64 * KIB,
    "bytes",
    "They hold counts of at most 20 variants.",
    "413 `request_too_large`",
    "The request body is larger than {value} bytes.",
)
PAGE_ITEMS: Final = Limit(
    "items of a page of a list",
    1_000,
    "items",
    "A larger `limit` is taken for this one; `next` leads on.",
    "the page ends there",
)
PAGE_BYTES: Final = Limit(
    "a page of a list",
    4 * MIB,
    "bytes",
    "Items may be large. A page holds at least one; `next` leads on.",
    "the page ends there",
)
ROWS_BYTES: Final = Limit(
    "properties of the events that are read at a time",
    16 * MIB,
    "bytes",
    "Rows differ in size by a factor of ten thousand. 30,000 ordinary events have less.",
    "fewer events are read at a time",
)
REFRESH_SECONDS: Final = Limit(
    "background refresh of a project's counts before it is another project's turn",
    2,
    "seconds",
    "Projects take turns, so that the metrics of one do not delay those of another.",
    "what was not finished goes on in the project's next turn",
)
COUNT_SECONDS: Final = Limit(
    "count of a metric in the background",
    30,
    "seconds",
    "It holds a slot that others need. A request for results may take longer.",
    "after three attempts the metric is reported by `health`, and tried ever more rarely",
    "It takes longer than {value} seconds.",
)
KEPT_COUNT_BYTES: Final = Limit(
    "what is kept of a metric's persons to add to, compressed",
    32 * MIB,
    "bytes",
    "Caps and quantiles are read off the number of persons with each value on each day. It is written anew whenever an "
    "event is new.",
    "the metric is counted from the facts each time",
)
UNSTORED_FACTS: Final = Limit(
    "facts of a process that answers count before they are stored",
    4_000_000,
    "items",
    "An answer about a new metric need not wait until they are. A fact takes 28 bytes of memory, or 36 with a value.",
    "the answer waits until its facts are stored",
)
SEARCHED_ROWS: Final = Limit(
    "events or persons that a list tests with conditions on properties for a page",
    20_000,
    "items",
    "Each is read and decoded. A page that ends there may have few results, or none; `next` leads on.",
    "the page ends there",
)
SEARCHED_BYTES: Final = Limit(
    "properties of the events or persons that a list tests for a page",
    64 * MIB,
    "bytes",
    "As for their number.",
    "the page ends there",
)
ERASED_PERSONS: Final = Limit(
    "persons that one request erases",
    1_000,
    "items",
    "Each is removed under a lock for which transactions that store events wait.",
    "400 `too_many_persons`",
    "A request may erase at most {value} persons.",
)
FROZEN_PERSONS: Final = Limit(
    "persons that `freeze_exposure/` lists",
    100_000,
    "items",
    "Each becomes a row in one transaction.",
    "400 `too_many_persons`",
    "An experiment with more than {value} exposed persons cannot be frozen.",
)
ERASURE_SECONDS: Final = Limit(
    "time that a request removes events of erased persons",
    10,
    "seconds",
    "All events of the project are looked through.",
    "the background goes on; the persons are erased already",
)
