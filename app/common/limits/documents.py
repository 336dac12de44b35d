"""Limits of experiments, flags, cohorts, actions and metrics, and of the conditions in them."""

from typing import Final

from app.common.limits.limit import KIB, MIB, Limit

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
