"""The record of what happened to an experiment by itself, and of what could not."""

import datetime as dt
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from pydantic import JsonValue

from app.common.timestamps import write_moment
from app.db.models import Experiment
from app.flags.filters import JsonDict

ActionKind: TypeAlias = Literal["started", "start_refused", "ended", "ramped", "ramp_stopped", "circuit_breaker"]

_MOST_KEPT: Final = 100


def note(experiment: Experiment, kind: ActionKind, at: dt.datetime, **members: JsonValue) -> None:
    """Add an action to the record; the oldest of many are dropped."""
    noted = {"kind": kind, "at": write_moment(at), **members}
    experiment.automatic_actions = [*actions_of(experiment), noted][-_MOST_KEPT:]


def actions_of(experiment: Experiment, kind: ActionKind | None = None) -> list[JsonDict]:
    """Return the actions of a kind, or all, oldest first."""
    listed: Sequence[JsonDict] = experiment.automatic_actions or ()
    return [one for one in listed if kind is None or one["kind"] == kind]


def last_action(experiment: Experiment, kind: ActionKind) -> JsonDict | None:
    """Return the last action of a kind."""
    found = actions_of(experiment, kind)
    return found[-1] if found else None
