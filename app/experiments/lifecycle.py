"""The life cycle of an experiment: its status, and the actions that a status allows."""

import datetime as dt
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias, get_args

from app.common.errors import ValidationFailed
from app.common.timestamps import write_moment

Status: TypeAlias = Literal["draft", "scheduled", "running", "paused", "exposure_frozen", "stopped"]
Action: TypeAlias = Literal[
    "launch",
    "pause",
    "resume",
    "end",
    "ship_variant",
    "reset",
    "archive",
    "unarchive",
    "freeze_exposure",
    "unfreeze_exposure",
]
Conclusion: TypeAlias = Literal["won", "lost", "inconclusive", "stopped_early", "invalid"]

_NOT_LAUNCHED = "Experiment has not been launched yet."
_NOT_STARTED = "Experiment has not started yet."
_LAUNCHED = "Experiment has already been launched."
_PAUSED = "Experiment is already paused."
_NOT_PAUSED = "Experiment is not paused."
_NOT_ENDED = "Experiment has not ended yet."
_ENDED = "Experiment has already ended."
_NOT_FROZEN = "The exposure of the experiment is not frozen."
_FROZEN = "The exposure of the experiment is already frozen."
_HELD = "Everyone gets the baseline: resume the experiment first."

# The text that refuses an action in a status; without one the action is allowed.
_REFUSALS: Final[Mapping[Action, Mapping[Status, str]]] = {
    "launch": {"running": _LAUNCHED, "paused": _LAUNCHED, "exposure_frozen": _LAUNCHED, "stopped": _LAUNCHED},
    "pause": {
        "draft": _NOT_LAUNCHED,
        "scheduled": _NOT_STARTED,
        "paused": _PAUSED,
        "stopped": _ENDED,
    },
    "resume": {
        "draft": _NOT_LAUNCHED,
        "scheduled": _NOT_STARTED,
        "running": _NOT_PAUSED,
        "exposure_frozen": _NOT_PAUSED,
        "stopped": _ENDED,
    },
    "end": {"draft": _NOT_LAUNCHED, "stopped": _ENDED},
    "ship_variant": {"draft": _NOT_LAUNCHED},
    "reset": {"draft": "Experiment is already in draft state."},
    "archive": {
        "draft": _NOT_LAUNCHED,
        "scheduled": _NOT_STARTED,
        "running": _NOT_ENDED,
        "paused": _NOT_ENDED,
        "exposure_frozen": _NOT_ENDED,
    },
    "unarchive": {},
    "freeze_exposure": {
        "draft": _NOT_LAUNCHED,
        "scheduled": _NOT_STARTED,
        "paused": _PAUSED,
        "exposure_frozen": _FROZEN,
        "stopped": _ENDED,
    },
    "unfreeze_exposure": {},  # what is frozen may have any status
}


def status_of(
    start_date: dt.datetime | None,
    end_date: dt.datetime | None,
    now: dt.datetime,
    *,
    is_released: bool,
    is_frozen: bool = False,
) -> Status:
    """Return the status of an experiment.

    It depends on the dates, the time and the flag alone: a flag that is off or deleted, or gives everyone the
    baseline for the time being, is not released to any person.
    An experiment runs from its start to its end, wherever these lie.
    """
    if start_date is None:
        return "draft"
    if end_date is not None and end_date <= now:
        return "stopped"
    if start_date > now:
        return "scheduled"
    if not is_released:
        return "paused"
    return "exposure_frozen" if is_frozen else "running"


def describe_empty_window(start_date: dt.datetime | None, end_date: dt.datetime | None) -> str:
    """Return why no event can count, or an empty text: the end is at least a second before the start.

    The seconds of the start and of the end both belong to an experiment.
    """
    if start_date is None or end_date is None or end_date.replace(microsecond=0) >= start_date.replace(microsecond=0):
        return ""
    start, end = write_moment(start_date), write_moment(end_date)
    return f"The experiment's window is empty: it ends ({end}) before it starts ({start}), so no event counts."


def describe_waiting(start_date: dt.datetime, end_date: dt.datetime | None, now: dt.datetime) -> str:
    """Return why no event of a launched experiment can have counted by now, or an empty text."""
    if start_date > now and (end_date is None or end_date > now):
        return f"The experiment starts at {write_moment(start_date)}."
    return describe_empty_window(start_date, end_date)


def check_action(action: Action, status: Status, *, is_archived: bool) -> None:
    """Refuse an action that the status does not allow."""
    _check(_refusal(action, status, is_archived=is_archived))


def check_unfreezing(*, is_frozen: bool, is_held: bool) -> None:
    """Refuse to unfreeze what is not frozen, or gives everyone the baseline for the time being."""
    _check(_refusal_to_unfreeze(is_frozen=is_frozen, is_held=is_held))


def _check(refusal: str | None) -> None:
    if refusal is not None:
        raise invalid_state(refusal)


def _refusal(action: Action, status: Status, *, is_archived: bool) -> str | None:
    if action == "archive" and is_archived:
        return "Experiment is already archived."
    if action == "unarchive" and not is_archived:
        return "Experiment is not archived."
    if action == "launch" and is_archived:
        return "Experiment is archived."
    return _REFUSALS[action].get(status)


def _refusal_to_unfreeze(*, is_frozen: bool, is_held: bool) -> str | None:
    if not is_frozen:
        return _NOT_FROZEN
    return _HELD if is_held else None


def allowed_actions(status: Status, *, is_archived: bool, is_frozen: bool, is_held: bool) -> list[Action]:
    """Return the actions that ``check_action`` and ``check_unfreezing`` let pass, in the order of a life."""
    refusals = {action: _refusal(action, status, is_archived=is_archived) for action in get_args(Action)}
    refusals["unfreeze_exposure"] = _refusal_to_unfreeze(is_frozen=is_frozen, is_held=is_held)
    return [action for action, refusal in refusals.items() if refusal is None]


def invalid_state(detail: str) -> ValidationFailed:
    return ValidationFailed(detail, code="invalid_state")
