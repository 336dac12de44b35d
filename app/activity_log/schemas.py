"""The bodies of the activity log."""

from typing import Literal

from pydantic import Field, JsonValue

from app.accounts.users import UserBasic
from app.db.models import ActivityEntry
from app.http.fields import UtcDatetime
from app.http.schemas import ResponseBody


class ChangeRead(ResponseBody):
    field: str = Field(examples=["status"])
    action: Literal["created", "changed", "deleted"] = Field(
        description="`created`: it was null before. `deleted`: it is null now.", examples=["changed"]
    )
    before: JsonValue = Field(examples=["draft"])
    after: JsonValue = Field(examples=["running"])


class ActivityDetail(ResponseBody):
    name: str = Field(
        description="The name of the item at that time; of a flag, its key; of a person, its UUID; "
        "of a webhook, its host.",
        examples=["Checkout button"],
    )
    changes: list[ChangeRead] = Field(
        description="The fields that differ; of a new or deleted item, all its fields. Of a person, only the names of "
        "properties, and numbers: an erased person must leave nothing here."
    )


class ActivityRead(ResponseBody):
    id: int = Field(description="Ascending in time.", examples=[1])
    activity: str = Field(
        description="`created`, `updated`, `deleted`, or an action on an experiment: `launched`, `paused`, "
        "`resumed`, `ended`, `shipped`, `reset`, `archived`, `unarchived`, `exposure_frozen`, "
        "`exposure_unfrozen`; what it did by itself: `launched`, `ended`, `paused`, `ramped`, `ramp_stopped`, "
        "`start_refused`, `held_at_baseline`, `harm_noticed`; or on a person: `delete_property`, "
        "`split_person`.",
        examples=["launched"],
    )
    scope: Literal["Experiment", "FeatureFlag", "Person", "Webhook"] = Field(examples=["Experiment"])
    item_id: str = Field(description="The id of the experiment, the flag, the person or the webhook.", examples=["1"])
    user: UserBasic | None = Field(description="Null: the command line, or the service itself.")
    detail: ActivityDetail
    created_at: UtcDatetime


def read_entry(entry: ActivityEntry) -> ActivityRead:
    """Return an entry of the log as the API shows it."""
    return ActivityRead.model_validate(
        {
            "id": entry.id,
            "activity": entry.activity,
            "scope": entry.scope,
            "item_id": str(entry.item_id),
            "user": entry.user,
            "detail": entry.detail,
            "created_at": entry.created_at,
        }
    )
