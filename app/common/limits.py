"""All limits on what one request, event, person or document may cost: the value, the reason and the documented error.

A limit is enforced where its subject is read; the value stands here and nowhere else. ``docs/reference/limits.md`` is
made from this list.
"""

from dataclasses import dataclass
from typing import Final, Literal

KIB: Final = 1024
MIB: Final = 1024 * KIB

Unit = Literal["bytes", "items", "seconds"]


@dataclass(frozen=True)
class Limit:
    """One limit. What exceeds ``value`` meets ``consequence``.

    ``detail`` is the text of the error, where there is one; ``{value}`` in it stands for the limit.
    """

    subject: str
    value: int
    unit: Unit
    reason: str
    consequence: str
    template: str = ""

    @property
    def detail(self) -> str:
        return self.template.format(value=f"{self.value:,}")


REQUEST_BYTES: Final = Limit(
    "body of a request from an SDK, as sent and decompressed",
    20 * MIB,
    "bytes",
    "The limit of 2022. Decompression stops there, so a small request cannot become a large one.",
    "413 `request_too_large`",
    "The decompressed request body is larger than {value} bytes.",
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
BODY_WITH_KEY_BYTES: Final = Limit(
    "body that is searched for a personal API key",
    64 * KIB,
    "bytes",
    "It is read before anything is known of the sender. Larger bodies are sent with an Authorization header.",
    "the key is not found: 401 `not_authenticated`",
)
DOCUMENT_BYTES: Final = Limit(
    "an experiment, a feature flag, an action or a cohort's criteria, as JSON",
    256 * KIB,
    "bytes",
    "Lists, results and evaluation read whole documents.",
    "400 `too_large`",
    "This document is larger than {value} bytes.",
)
CONDITIONS: Final = Limit(
    "conditions on properties in a flag, cohort, action, metric or filter of test accounts",
    200,
    "items",
    "Each is tested for every person or event.",
    "400 `too_many_conditions`",
    "There may be at most {value} conditions on properties.",
)
REFERRED_COHORTS: Final = Limit(
    "cohorts that a cohort refers to, directly or through others",
    100,
    "items",
    "All of them are evaluated for every person.",
    "400 `too_many_cohorts`",
    "A cohort may refer to at most {value} others, directly or through others.",
)
CONDITION_VALUES: Final = Limit(
    "values in a condition",
    10_000,
    "items",
    "They are compared with every event or person.",
    "400 `too_many_values`",
    "A condition may have at most {value} values.",
)
PATTERN_CHARACTERS: Final = Limit(
    "regular expression",
    1_000,
    "items",
    "Longer ones are mistakes.",
    "400 `invalid_input`",
)
PATTERN_CLASSES: Final = Limit(
    r"classes of Unicode characters (`\p`) in a regular expression",
    30,
    "items",
    "Each stands for hundreds of ranges of characters, which are made before the size of the whole is known.",
    "400 `invalid_input`",
)
PATTERN_BYTES: Final = Limit(
    "regular expressions of a flag, cohort, action, metric or filter of test accounts together",
    64 * KIB,
    "bytes",
    "They are compiled before they are used. So are conditions on elements; fragments of texts count too, and a short"
    " one counts as 64 bytes.",
    "400 `too_many_patterns`",
    "The regular expressions may have at most {value} bytes together.",
)
PATTERN_PROGRAM_BYTES: Final = Limit(
    "compiled regular expression",
    256 * KIB,
    "bytes",
    "Classes of characters and repetitions multiply: a pattern of 30 characters may compile to megabytes.",
    "400 `invalid_input`",
)
PATTERN_PROGRAMS_BYTES: Final = Limit(
    "compiled regular expressions of a flag, cohort, action, metric or filter of test accounts together",
    2 * MIB,
    "bytes",
    "They are held in memory while they are used.",
    "400 `too_many_patterns`",
    "The regular expressions may have at most {value} bytes together when they are compiled.",
)
PATTERN_WORK: Final = Limit(
    "bytes that the regular expressions of a flag, cohort or filter search for one person or event, each times the"
    " instructions of the expression",
    4 * MIB,
    "items",
    "A search takes time in proportion to both: up to 10 ns for each. An expression of 100 instructions, which is a"
    " long one, searches 40 KiB.",
    "the rest of the texts is not searched",
)
VARIANTS: Final = Limit(
    "variants of a flag or an experiment",
    20,
    "items",
    "Comparisons are made between all of them.",
    "400 `invalid_input`",
)
BROWSER_SESSIONS: Final = Limit(
    "sessions of a user on the pages",
    50,
    "items",
    "They are listed on one page, and each is a way in.",
    "a new one ends the one that was used longest ago",
)
SHARE_LINKS: Final = Limit(
    "links that share an experiment, at a time",
    100,
    "items",
    "They are listed on one page; a link can be given to any number of people.",
    "an error on the page",
    "An experiment may have at most {value} links at a time: revoke one first.",
)
SECONDARY_METRICS: Final = Limit(
    "secondary metrics of an experiment",
    50,
    "items",
    "Each is counted ahead of readers, day by day.",
    "400 `too_many_metrics`",
    "An experiment may have at most {value} secondary metrics.",
)
FUNNEL_STEPS: Final = Limit(
    "steps, or exclusions, of a funnel, and series of a trend",
    30,
    "items",
    "Each is a series of facts of its own, and every person is led through all of them.",
    "400 `too_many_steps`",
    "A metric may have at most {value} steps, exclusions or series.",
)
ACTION_STEPS: Final = Limit(
    "steps of an action",
    100,
    "items",
    "Each is an alternative that every event is matched with.",
    "400 `too_many_steps`",
    "An action may have at most {value} steps.",
)
FILTER_ALTERNATIVES: Final = Limit(
    "combinations of conditions on events with conditions on persons, groups and cohorts in a filter",
    32,
    "items",
    "Facts are made of the events of each combination.",
    "400 `invalid_input`",
    "Too many combinations of conditions on events with other conditions",
)
ALTERNATIVES: Final = Limit(
    "conditions of a metric, each counted once for every step of the actions that it applies to",
    1_000,
    "items",
    "Conditions are copied into every step before facts are made of events.",
    "400 `too_many_conditions`",
    "The conditions and actions of a metric may have at most {value} combinations.",
)
BUCKETS: Final = Limit(
    "intervals of a series over time",
    5_000,
    "items",
    "Each is a figure for every variant and metric. The verdict on a trend does not depend on them: its series takes"
    " longer intervals, or shows every n-th, where there would be more.",
    "400 `invalid_input` where the request chooses the interval; otherwise longer steps",
    "A series over time may have at most {value} intervals.",
)
COUNTED_BUCKETS: Final = Limit(
    "intervals of a trend whose total depends on its interval, such as a sum of hourly averages",
    100_000,
    "items",
    "Longer intervals would change the total, so it is counted by all of them.",
    "400 `invalid_input`",
    "A trend may be counted by at most {value} intervals.",
)
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
    8 * MIB,
    "bytes",
    "Items may be large. A page holds at least one; `next` leads on.",
    "the page ends there",
)
ROWS_BYTES: Final = Limit(
    "properties of the events that are read at a time",
    32 * MIB,
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
IMPORTED_LINE_BYTES: Final = Limit(
    "line of a file that `abacus import` reads",
    2 * MIB,
    "bytes",
    "It holds one event, of which this is twice the limit, or one person.",
    "the line is refused by its number; the others are imported",
    "The line is longer than {value} bytes.",
)
UPLOADED_FILE_BYTES: Final = Limit(
    "file that is uploaded to be imported",
    2048 * MIB,
    "bytes",
    "It is written to disk as it comes. `abacus import` reads larger ones where they are.",
    "413 `request_too_large`",
    "The request body is larger than {value} bytes.",
)
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
BREAKDOWN_VALUES: Final = Limit(
    "values of a breakdown",
    50,
    "items",
    "Each is analyzed as a metric of its own. Of more values most are too small to tell anything.",
    "400 `invalid_input`",
    "limit is a whole number from 1 to {value}.",
)
DEFINITIONS: Final = Limit(
    "names of events of a project, and names of properties of its events, persons and groups, that are kept for forms",
    10_000,
    "items",
    "They are made for people to choose from. More are identifiers that were sent as names.",
    "`event_definitions/` and `property_definitions/` lack the later ones; events and metrics are as ever",
)
EVENT_PROPERTIES: Final = Limit(
    "properties of the events of a name that are kept for forms",
    1_000,
    "items",
    "As for all names.",
    "`property_definitions/` does not know that events of the name have the later ones",
)
DEFINED_EVENT_BYTES: Final = Limit(
    "properties of an event whose names are kept for forms",
    256 * KIB,
    "bytes",
    "They are decoded at a stretch, and ordinary ones have a few kilobytes.",
    "`property_definitions/` does not look into larger ones",
)
DEFINITIONS_SECONDS: Final = Limit(
    "time that a list of definitions takes to look through events that came since",
    2,
    "seconds",
    "The background looks through them too.",
    "the list is of the events that were looked through by then",
)
INSIGHT_POINTS: Final = Limit(
    "points of an insight: its series, times the values of its breakdown, times its intervals",
    20_000,
    "items",
    "Each is a figure with a label and a date in the answer.",
    "400 `too_many_points`",
    "An insight may have at most {value} points. Choose fewer series, fewer values or a longer interval.",
)
INSIGHT_HOURS: Final = Limit(
    "hours for which the facts of an insight are kept, unless an experiment needs them",
    24,
    "items",
    "Each is a row for an event, and a form asks for many metrics before one is chosen.",
    "the next insight makes them again",
)
EXPORTED_PERSONS: Final = Limit(
    "participants of an experiment in a file",
    1_000_000,
    "items",
    "They are written while they are read, on a connection that is held for all of them.",
    "400 `too_many_persons`",
    "A file may have at most {value} participants: read the pages of `participants/`, or one variant at a time.",
)
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
LOOP_MILLISECONDS: Final = 20  # at a stretch on the event loop, whatever the input

ALL: Final = tuple(value for value in list(globals().values()) if isinstance(value, Limit))
