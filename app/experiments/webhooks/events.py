"""The events that receivers are sent: their names, which of them a change is, and the documents that tell of them."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args
from uuid import UUID

from pydantic import JsonValue

from app.activity_log.changes import State, changes_between
from app.common.json_text import write_json
from app.common.timestamps import write_moment

ChangeEvent: TypeAlias = Literal[
    "experiment.created",
    "experiment.updated",
    "experiment.launched",
    "experiment.paused",
    "experiment.ended",
    "experiment.shipped",
    "experiment.deleted",
]
EvidenceEvent: TypeAlias = Literal[
    "experiment.warning",
    "experiment.info.significance",
    "experiment.decision.ship",
    "experiment.decision.rollback",
    "experiment.decision.review",
]
WebhookEvent: TypeAlias = Literal[ChangeEvent, EvidenceEvent]

EVENTS: Final[tuple[WebhookEvent, ...]] = (*get_args(ChangeEvent), *get_args(EvidenceEvent))
EVIDENCE_EVENTS: Final[frozenset[str]] = frozenset(get_args(EvidenceEvent))
TEST: Final = "webhook.test"

_BY_ACTIVITY: Final[Mapping[str, ChangeEvent]] = {
    "created": "experiment.created",
    "shipped": "experiment.shipped",
    "deleted": "experiment.deleted",
}
_WAITING: Final = frozenset({"draft", "scheduled"})
_OPEN: Final = frozenset({"running", "exposure_frozen"})


@dataclass(frozen=True)
class ExperimentFacts:
    """What every event says of its experiment."""

    id: int
    name: str
    feature_flag_key: str
    status: str
    start_date: str | None
    end_date: str | None
    conclusion: str | None


def facts_of(experiment_id: int, state: State) -> ExperimentFacts:
    """Return what events say of an experiment, from its state in the activity log."""
    return ExperimentFacts(
        id=experiment_id,
        name=str(state["name"]),
        feature_flag_key=str(state["feature_flag_key"]),
        status=str(state["status"]),
        start_date=_text(state["start_date"]),
        end_date=_text(state["end_date"]),
        conclusion=_text(state["conclusion"]),
    )


def event_of_change(activity: str, before: State, after: State) -> ChangeEvent | None:
    """Return the event of a change; None where nothing changed. One that changes the status is named by that."""
    if activity in _BY_ACTIVITY:
        return _BY_ACTIVITY[activity]
    if activity == "updated" and not changes_between(before, after):
        return None
    return event_of_status(str(before["status"]), str(after["status"])) or "experiment.updated"


def event_of_status(before: str, after: str) -> ChangeEvent | None:
    """Return the event of a change of the status; None where it is none of its own, as a resumption is."""
    if before == after:
        return None
    if after == "stopped":
        return "experiment.ended"
    if after == "paused":
        return "experiment.paused"
    return "experiment.launched" if before in _WAITING and after in _OPEN else None


def describe_change(activity: str, before: State, after: State) -> dict[str, JsonValue]:
    """Return what an event says of a change: the activity, the status before, and the names of what differs."""
    changed: list[JsonValue] = [change["field"] for change in changes_between(before, after)]
    known = before and after
    return {
        "activity": activity,
        "previous_status": before.get("status"),
        "changed_fields": changed if known else [],
    }


def write_event(
    event: str,
    event_id: UUID,
    at: dt.datetime,
    project_id: int,
    experiment: ExperimentFacts | None,
    data: Mapping[str, JsonValue],
) -> str:
    """Return the body that receivers are sent."""
    document = {
        "id": str(event_id),
        "event": event,
        "created_at": write_moment(at),
        "project_id": project_id,
        "experiment": vars(experiment) if experiment is not None else None,
        "data": dict(data),
    }
    return write_json(document)


def _text(value: JsonValue) -> str | None:
    return None if value is None else str(value)
