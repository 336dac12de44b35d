"""Limits of bodies of the private API."""

from typing import Final

from app.common.limits.limit import KIB, MIB, Limit

BODY_BYTES: Final = Limit(
    "body of a request to the private API",
    2 * MIB,
    "bytes",
    "The largest documents are lists of distinct ids for static cohorts; longer lists take several requests.",
    "413 `request_too_large`",
    "The request body is larger than {value} bytes.",
)
BODY_VALUES: Final = Limit(
    "lists, objects and commas in a body of the private API",
    60_000,
    "items",
    "Two bytes may become an object of a hundred, so they are counted before the body is parsed. Longer lists of"
    " distinct ids take several requests.",
    "413 `request_too_large`",
    "The request body has more than {value} values.",
)
BODY_RATE: Final = Limit(
    "body that arrives in a second, on average after the first `ABACUS_BODY_TIMEOUT` seconds",
    KIB,
    "bytes",
    "A client that sends a byte now and then holds a connection that others need.",
    "408 `request_timeout`",
    "The request body did not arrive in time.",
)
BODIES_BYTES: Final = Limit(
    "bodies that arrive, or are not answered yet, at a time, beyond the first 64 KiB of each",
    64 * MIB,
    "bytes",
    "A thousand clients may send bodies of 20 MiB at once, and may do so slowly.",
    "the others wait; while they do, one that takes longer than `ABACUS_BODY_TIMEOUT` seconds to arrive is answered"
    " with 408 `request_timeout`, and one that has waited for twice as long with 503 `service_unavailable`",
)
BODIES_WAITING: Final = Limit(
    "bodies that wait for others at a time",
    200,
    "items",
    "Each is in memory in part, and its client may be gone.",
    "503 `service_unavailable`",
    "Too many large request bodies arrive. Please try again.",
)
BODY_WITH_KEY_BYTES: Final = Limit(
    "body that is searched for a personal API key",
    64 * KIB,
    "bytes",
    "It is read before anything is known of the sender. Larger bodies are sent with an Authorization header.",
    "the key is not found: 401 `not_authenticated`",
)
IDEMPOTENCY_KEYS: Final = Limit(
    "values of `Idempotency-Key` of a user and a project within 24 hours",
    10_000,
    "items",
    "Each is kept with its answer.",
    "429",
)
IDEMPOTENT_BYTES: Final = Limit(
    "answers that are kept for an `Idempotency-Key`, of a user and a project within 24 hours",
    64 * MIB,
    "bytes",
    "They are kept in the database.",
    "429",
)
