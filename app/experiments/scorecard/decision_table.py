"""The decision table: what is recommended in each state of an experiment, by what its data show.

It is the one place that says so: `decision`, pages and reports read it, and ``docs/generate.py`` writes it down.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

State: TypeAlias = Literal[
    "draft",
    "scheduled",
    "running_without_data",
    "running_below_minimum_sample",
    "running_below_minimum_time",
    "running",
    "paused",
    "paused_below_minimum_time",
    "ended",
    "ended_below_minimum_time",
    "shipped",
    "concluded",
]
Evidence: TypeAlias = Literal[
    "split_mismatch",
    "not_comparable",
    "no_data",
    "harmful",
    "control_wins",
    "not_enough_data",
    "superior",
    "superior_with_open_guardrail",
    "superior_with_harmed_guardrail",
    "equivalent",
    "no_clear_effect",
    "inferior",
    "inconclusive",
]
Recommendation: TypeAlias = Literal[
    "ship", "rollback", "keep_running", "review", "blocked", "wait", "resume", "decided"
]
Served: TypeAlias = Literal["best", "baseline", "decided"]


@dataclass(frozen=True)
class Answer:
    """What is recommended.

    Attributes
    ----------
    serves : {"best", "baseline", "decided"} or None
        The variant that everyone should get if the recommendation is followed: the best one, the baseline, or what was
        decided; None while the split itself is to be served.
    advice : str
        One sentence. ``{variant}`` stands for the variant to serve, ``{left}`` for the time left, ``{decided}`` for
        what was decided.
    """

    recommendation: Recommendation
    serves: Served | None
    advice: str


STATES: Final[Mapping[State, str]] = {
    "draft": "it has no start",
    "scheduled": "its start lies ahead",
    "running_without_data": "it runs, and no person was analyzed yet",
    "running_below_minimum_sample": "it runs, with too few persons (100 in each variant) or events for a verdict",
    "running_below_minimum_time": "it has run for less than `minimum_runtime_days`",
    "running": "it runs, and its data suffice for a verdict",
    "paused": "it has not ended, and its flag is off, deleted, or held at the baseline",
    "paused_below_minimum_time": "the same, after less than `minimum_runtime_days`",
    "ended": "its end has passed",
    "ended_below_minimum_time": "the same, after less than `minimum_runtime_days`",
    "shipped": "it has ended, and its flag gives one variant to everyone",
    "concluded": "a conclusion is recorded",
}
# In the order in which they are looked for.
EVIDENCE: Final[Mapping[Evidence, str]] = {
    "split_mismatch": "the exposed persons do not match the planned split",
    "not_comparable": "the target metric has no analysis, because it is missing or cannot be compared by person",
    "no_data": "no person was analyzed",
    "harmful": "no variant is better, each is worse or harms a guardrail, and at least one harms a guardrail",
    "control_wins": "every variant is significantly worse than the baseline",
    "not_enough_data": "there are too few persons or events for a verdict on any variant",
    "superior": "a variant is significantly better, and harms no guardrail",
    "superior_with_open_guardrail": "a variant is better, but may harm a guardrail (only for `do_no_harm`)",
    "superior_with_harmed_guardrail": "a variant is better, and harms a guardrail",
    "equivalent": "precise enough, not better, and harmless within all margins (only for `do_no_harm`)",
    "no_clear_effect": "precise enough to show the target effect, and none is clear",
    "inferior": "some variants are significantly worse, others are open",
    "inconclusive": "not precise enough yet",
}
TITLES: Final[Mapping[Recommendation, str]] = {
    "ship": "Ship it",
    "rollback": "Roll back",
    "keep_running": "Keep running",
    "review": "Needs review",
    "blocked": "No decision",
    "wait": "Nothing to decide yet",
    "resume": "Paused",
    "decided": "Decided",
}


def title_of(recommendation: Recommendation, state: State, variant: str | None) -> str:
    """Return a recommendation as a heading; with the variant to serve where that is what it is about."""
    if state == "draft":
        return "Not launched yet"
    if variant is None or recommendation not in {"ship", "rollback", "decided"}:
        return TITLES[recommendation]
    return (
        f"{TITLES[recommendation]} to {variant}"
        if recommendation == "rollback"
        else f"{TITLES[recommendation]}: {variant}"
    )


_SHIP = Answer("ship", "best", "Ship {variant}.")
_ROLLBACK = Answer("rollback", "baseline", "Go back to {variant}.")
_KEEP = Answer("keep_running", None, "Keep it running{left}.")
_REVIEW = Answer("review", None, "Have a person look at it before anything is shipped.")
_BLOCKED = Answer("blocked", None, "Do not decide on these figures.")
_RESUME = Answer("resume", None, "It is paused, and its data do not decide it: resume it, or end it.")
_RESUME_WITHOUT_DATA = Answer("resume", None, "It is paused, and has no data: resume it, or end it.")
_DRAFT = Answer("wait", None, "It is a draft: there is nothing to decide before it is launched.")
_SCHEDULED = Answer("wait", None, "It has not started: there is nothing to decide yet.")
_NO_DATA = Answer(
    "wait", None, "There are no data yet: check that exposures and the metric's events arrive before anything else."
)
_ENDED_REVIEW = Answer(
    "review", "baseline", "It has ended: have a person decide. Until then {variant} is the variant to serve."
)
_ENDED_BLOCKED = Answer("blocked", "baseline", "Do not decide on these figures: {variant} is the variant to serve.")
_DECIDED = Answer("decided", "decided", "{decided}")

_Row: TypeAlias = Mapping[Evidence, Answer]


def _all(answer: Answer) -> dict[Evidence, Answer]:
    return dict.fromkeys(EVIDENCE, answer)


_BROKEN: Final[_Row] = {"split_mismatch": _BLOCKED, "not_comparable": _BLOCKED}
_HARM: Final[_Row] = {"harmful": _ROLLBACK, "control_wins": _ROLLBACK}
_WINS: Final[_Row] = {
    "superior": _SHIP,
    "superior_with_harmed_guardrail": _REVIEW,
    "equivalent": _SHIP,
    "no_clear_effect": _REVIEW,
}
_TOO_EARLY: Final[_Row] = {**_all(_KEEP), **_BROKEN, **_HARM, "no_data": _NO_DATA}
_PAUSED_TOO_EARLY: Final[_Row] = {**_all(_RESUME), **_BROKEN, **_HARM, "no_data": _RESUME_WITHOUT_DATA}
_ENDED_TOO_EARLY: Final[_Row] = {
    **_all(_ENDED_REVIEW),
    **_HARM,
    **dict.fromkeys(("split_mismatch", "not_comparable", "no_data", "not_enough_data"), _ENDED_BLOCKED),
}

TABLE: Final[Mapping[State, _Row]] = {
    "draft": _all(_DRAFT),
    "scheduled": _all(_SCHEDULED),
    "running_without_data": {**_all(_NO_DATA), **_BROKEN, **_HARM},
    "running_below_minimum_sample": _TOO_EARLY,
    "running_below_minimum_time": _TOO_EARLY,
    "running": {**_TOO_EARLY, **_WINS},
    "paused": {**_PAUSED_TOO_EARLY, **_WINS},
    "paused_below_minimum_time": _PAUSED_TOO_EARLY,
    "ended": {**_ENDED_TOO_EARLY, "superior": _SHIP, "equivalent": _SHIP},
    "ended_below_minimum_time": _ENDED_TOO_EARLY,
    "shipped": _all(_DECIDED),
    "concluded": _all(_DECIDED),
}
