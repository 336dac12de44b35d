"""When flags were on while experiments ran, from the activity log."""

from app.activity_log.repository import ActivityQueries
from app.common.timestamps import to_microseconds
from app.db.database import Database
from app.db.models import Experiment
from app.metrics.aggregation.contacts import Span

_END = 2**62  # after every event


class ReleasedTimes:
    """The times of one project's flags."""

    def __init__(self, database: Database, project_id: int) -> None:
        self._log = ActivityQueries(database, project_id)

    async def of(self, experiment: Experiment) -> list[Span]:
        """Return when a started experiment ran and its flag was on.

        While a flag is off it answers the same to everyone, and the persons it would hold out do not show. Before it
        was created, a flag counts as it was when it was created.
        """
        flag, start = experiment.feature_flag, experiment.start_date
        if start is None:
            return []
        states = {"active": flag.active, "deleted": flag.deleted}
        first: dict[str, bool] = {}
        changes: list[tuple[int, str, bool]] = []
        async for entry in self._log.since("FeatureFlag", flag.id, start):
            for change in entry.detail["changes"]:
                name, before, after = change["field"], change["before"], bool(change["after"])
                if name in states:
                    first.setdefault(name, after if before is None else bool(before))
                    changes.append((to_microseconds(entry.created_at), name, after))
        end = _END if experiment.end_date is None else to_microseconds(experiment.end_date)
        return _spans(to_microseconds(start), end, states | first, changes)


def _spans(start: int, end: int, states: dict[str, bool], changes: list[tuple[int, str, bool]]) -> list[Span]:
    spans: list[Span] = []
    since: int | None = start if _is_on(states) else None
    for at, name, after in changes:
        states[name] = after
        if since is None and _is_on(states):
            since = at
        elif since is not None and not _is_on(states):
            spans.append((since, at))
            since = None
    if since is not None:
        spans.append((since, end))
    return [(since, min(until, end)) for since, until in spans if since < min(until, end)]


def _is_on(states: dict[str, bool]) -> bool:
    return states["active"] and not states["deleted"]
