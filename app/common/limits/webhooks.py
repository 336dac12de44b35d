"""Limits of webhooks."""

from typing import Final

from app.common.limits.limit import Limit

WEBHOOKS: Final = Limit(
    "webhooks of a project",
    20,
    "items",
    "Every change of an experiment is delivered to each.",
    "400 `invalid_input`",
    "A project may have at most {value} webhooks.",
)
WEBHOOK_URL_CHARACTERS: Final = Limit(
    "characters of a webhook's URL",
    2_000,
    "items",
    "Longer ones are refused by many receivers.",
    "400 `max_length`",
    "Ensure this field has no more than 2000 characters.",
)
WEBHOOK_SECONDS: Final = Limit(
    "time of an attempt to deliver to a webhook",
    10,
    "seconds",
    "A receiver takes an event and works on it afterwards. One that does not answer holds a place that others need.",
    "the attempt has failed; the next one follows after a pause",
    "The receiver did not answer within {value} seconds.",
)
WEBHOOKS_AT_A_TIME: Final = Limit(
    "webhooks that a process delivers to at a time",
    16,
    "items",
    "Each holds a connection. To one webhook deliveries are made one after the other.",
    "deliveries wait",
)
WEBHOOK_WAITING: Final = Limit(
    "deliveries that wait for one webhook",
    1_000,
    "items",
    "A receiver that has not answered for long must not fill the database.",
    "the oldest are given up",
    "More than {value} deliveries waited.",
)
WEBHOOK_DAYS: Final = Limit(
    "days for which deliveries are kept",
    30,
    "items",
    "They are kept to look at what was sent, not as a record: the activity log is that.",
    "older ones are removed",
)
