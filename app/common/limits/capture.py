"""Limits of requests from SDKs, and of the events, persons and groups in them."""

from typing import Final

from app.common.limits.limit import KIB, MIB, Limit

REQUEST_BYTES: Final = Limit(
    "body of a request from an SDK, as sent and decompressed",
    20 * MIB,
    "bytes",
    "The limit of 2022. Decompression stops there, so a small request cannot become a large one.",
    "413 `request_too_large`",
    "The decompressed request body is larger than {value} bytes.",
)
PAYLOADS_BYTES: Final = Limit(
    "bodies from SDKs of more than 64 KiB, as sent or decompressed, or 16 KiB of lz64, that are decoded and worked on"
    " at a time",
    40 * MIB,
    "bytes",
    "Each is in memory as it came, as texts and as rows. One counts as the largest that is allowed until it is"
    " decompressed.",
    "the next one waits",
)
LZ_BYTES: Final = Limit(
    "body compressed as lz64",
    MIB,
    "bytes",
    "Decoding it takes a second of processor time per mebibyte.",
    "413 `request_too_large`",
    "An lz64 payload is larger than {value} bytes.",
)
EVENTS: Final = Limit(
    "events in a request",
    10_000,
    "items",
    "SDKs send at most a few hundred. Each costs a row and an index entry, so they are counted while they are read.",
    "413 `request_too_large`",
    "A request may hold at most {value} events.",
)
EVENT_VALUES: Final = Limit(
    "commas and opening brackets in a request with events",
    1_000_000,
    "items",
    "Three bytes may be a value, and decoding holds the interpreter for as long as it takes: 15 ns for each. 10,000"
    " events of a hundred properties have fewer.",
    "413 `request_too_large`",
    "A request may hold at most {value} values.",
)
EVENT_BYTES: Final = Limit(
    "one event",
    MIB,
    "bytes",
    "Events are read, matched and listed many at a time.",
    "413 `request_too_large`",
    "An event may have at most {value} bytes.",
)
EVENT_FIELD_BYTES: Final = Limit(
    "`event`, `distinct_id`, `uuid`, a time or a token of an event",
    16 * KIB,
    "bytes",
    "They are texts of a few hundred characters, and are read before anything is known of the sender.",
    "400 `invalid_payload`",
    "Invalid payload: a field of an event that holds a text is larger than {value} bytes.",
)
PERSON_PROPERTY_BYTES: Final = Limit(
    "properties of a person",
    512 * KIB,
    "bytes",
    "Every event of the person, and every evaluation of a flag for them, reads all of them.",
    "the properties that do not fit are left out and named in the log; the others and the event are stored",
)
GROUP_PROPERTY_BYTES: Final = Limit(
    "properties of a group",
    512 * KIB,
    "bytes",
    "As for persons.",
    "the properties that do not fit are left out and named in the log; the others and the event are stored",
)
PROPERTIES: Final = Limit(
    "properties of a person or of a group",
    10_000,
    "items",
    "Small properties take twenty times their size in memory while they are changed.",
    "the properties beyond are left out and named in the log; the others and the event are stored",
)
CHANGED_PERSON_BYTES: Final = Limit(
    "stored properties of all persons or groups that a request changes",
    128 * MIB,
    "bytes",
    "They are read and written in one transaction.",
    "413 `request_too_large`",
    "The persons and groups that a request changes may have at most {value} bytes of properties together.",
)
DISTINCT_IDS: Final = Limit(
    "distinct ids of a person",
    10_000,
    "items",
    "A merge moves all of them at once.",
    "an identification or merge that would exceed it does not join the persons, and is named in the log; the event is"
    " stored",
)
MERGES: Final = Limit(
    "events of a request that join two persons",
    1_000,
    "items",
    "Each may move rows of persons and distinct ids, under the lock of the project's identities.",
    "413 `request_too_large`",
    "A request may hold at most {value} events that join persons.",
)
EVENT_GROUPS: Final = Limit(
    "groups that an event belongs to",
    100,
    "items",
    "A project has at most five types of groups.",
    "the groups beyond are left out",
)
FLAGS_REQUEST_BYTES: Final = Limit(
    "body of a request for flags, decompressed",
    MIB,
    "bytes",
    "It holds a person's properties, which are a few kilobytes.",
    "413 `request_too_large`",
    "The decompressed request body is larger than {value} bytes.",
)
