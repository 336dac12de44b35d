"""Limits of breakdowns, definitions, insights and files for people to look at."""

from typing import Final

from app.common.limits.limit import KIB, Limit

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
