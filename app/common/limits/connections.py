"""Limits of connections and heads of requests."""

from typing import Final

from app.common.limits.limit import KIB, Limit

HEAD_BYTES: Final = Limit(
    "head of a request",
    64 * KIB,
    "bytes",
    "It is held in memory before anything is known of the sender.",
    "431 `request_header_fields_too_large`",
    "The request head is larger than {value} bytes or has too many headers.",
)
HEADERS: Final = Limit(
    "headers of a request",
    100,
    "items",
    "As for the head.",
    "431 `request_header_fields_too_large`",
)
HEAD_SECONDS: Final = Limit(
    "time for a head to arrive",
    10,
    "seconds",
    "A connection that sends nothing holds a place that others need.",
    "408 `request_timeout`",
    "The request head did not arrive in time.",
)
WRITE_SECONDS: Final = Limit(
    "time after which it is checked how much a client has taken of what is sent to it",
    60,
    "seconds",
    "An answer that is not read is held in memory.",
    "see the next line",
)
WRITE_RATE: Final = Limit(
    "answer that a client takes in a second, on average over that time",
    KIB,
    "bytes",
    "The slowest networks are faster.",
    "the connection is aborted",
)
LINGER_SECONDS: Final = Limit(
    "time for which more of a body is read, and thrown away, after it was answered",
    2,
    "seconds",
    "A connection that is closed at once is reset, and the client may miss the answer.",
    "the connection is closed",
)
