"""Durations of sessions."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from app.metrics.facts.columns import NO_ACTOR, FactColumns
from app.properties.filters import Group
from app.properties.matcher import compile_filter
from app.properties.subjects import DURATION_PROPERTY

# A session may begin before a window or end after it: events up to this far outside still belong to it.
MARGIN = 24 * 3_600 * 1_000_000  # microseconds

_SECOND = 1_000_000


def durations(sessions: FactColumns) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return each session (ascending) and its whole seconds from the first event to the last.

    Parameters
    ----------
    sessions : FactColumns
        All events of the sessions, which are the actors.
    """
    named = sessions.select(sessions.actor != NO_ACTOR)
    order = np.lexsort((named.time, named.actor))
    actors, first, count = np.unique(named.actor[order], return_index=True, return_counts=True)
    seconds = named.time[order] // _SECOND
    return actors, seconds[first + count - 1] - seconds[first]


def sessions_matching(condition: Group, sessions: FactColumns) -> NDArray[np.int64]:
    """Return the sessions whose duration passes a filter on ``$session_duration``."""
    actors, seconds = durations(sessions)
    matches = compile_filter(condition).matches
    passing = [value for value in np.unique(seconds) if matches({DURATION_PROPERTY: str(value).encode()})]
    return actors[np.isin(seconds, np.array(passing, dtype=np.int64))]


def with_durations(facts: FactColumns, sessions: FactColumns) -> FactColumns:
    """Return facts whose actors are sessions with the session's duration as the value; nan without a session."""
    actors, seconds = durations(sessions)
    value = np.full(len(facts), np.nan)
    if len(actors):
        position = np.minimum(np.searchsorted(actors, facts.actor), len(actors) - 1)
        found = actors[position] == facts.actor
        value[found] = seconds[position[found]]
    return replace(facts, value=value)
