"""Looking at the events that arrived."""

import json
from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.params import Depends

from app.dependencies import EventsDep, PersonsDep, get_project
from app.errors import ValidationFailed
from app.events.repository import EventSelection
from app.events.schemas import EventPage, EventPerson, EventRead
from app.models import Event, Person
from app.moments import from_microseconds, to_microseconds
from app.pagination import DEFAULT_LIMIT, Links, read_count
from app.routing import refuse_other_methods
from app.types import is_storable_json, parse_moment

router = APIRouter(prefix="/api/projects/{project_id}/events", tags=["Events and persons"])

MAX_LIMIT = 1000


@router.get("/", summary="List events")
async def list_events(
    request: Request,
    events: EventsDep,
    persons: PersonsDep,
    event: Annotated[str | None, Query(description="Only events of this name.")] = None,
    distinct_id: Annotated[str | None, Query(description="Only events of this distinct id.")] = None,
    after: Annotated[str | None, Query(description="Only events later than this date and time.")] = None,
    before: Annotated[str | None, Query(description="Only events earlier than this date and time.")] = None,
    limit: Annotated[str | None, Query(description=f"How many, up to {MAX_LIMIT}.")] = None,
    cursor: Annotated[str | None, Query(description="Where a page starts, as written into `next`.")] = None,
) -> EventPage:
    """Return events, newest first, with the persons they belong to today. `next` never skips or repeats an event."""
    size = min(read_count(limit, DEFAULT_LIMIT, minimum=1), MAX_LIMIT)
    selection = EventSelection(
        name=_text(event),
        distinct_id=_text(distinct_id),
        after=_moment(after, "after"),
        before=_moment(before, "before"),
        cursor=_cursor(cursor),
    )
    rows = await events.page(selection, size + 1)
    page = rows[:size]
    people = await persons.by_ids([row.person_id for row in page])
    following = Links(request).replacing(cursor=f"{page[-1].time}_{page[-1].sequence}") if len(rows) > size else None
    return EventPage(next=following, results=[_read(row, people) for row in page])


def _read(event: Event, people: Mapping[int, Person]) -> EventRead:
    person = people.get(event.person_id)
    properties = json.loads(event.properties)
    return EventRead(
        id=event.uuid,
        distinct_id=event.distinct_id,
        event=event.name,
        timestamp=from_microseconds(event.time),
        properties=properties,
        person=EventPerson(
            uuid=person.uuid,
            distinct_ids=[event.distinct_id],
            properties=person.properties,
            is_identified=person.is_identified,
            created_at=person.created_at,
        )
        if person
        else None,
    )


def _text(value: str | None) -> str | None:
    if value is not None and not is_storable_json(value):
        raise ValidationFailed("Null characters are not allowed.", code="null_characters_not_allowed")
    return value


def _moment(text: str | None, name: str) -> int | None:
    if not text:
        return None
    moment = parse_moment(text)
    if moment is None:
        raise ValidationFailed(f"{text[:100]!r} is not an ISO 8601 date and time", attr=name)
    return to_microseconds(moment)


def _cursor(text: str | None) -> tuple[int, int] | None:
    if not text:
        return None
    time, _, sequence = text.partition("_")
    try:
        position = int(time), int(sequence)
    except ValueError as error:
        raise ValidationFailed("The cursor cannot be read", attr="cursor") from error
    if not all(-(2**63) <= part < 2**63 for part in position):
        raise ValidationFailed("The cursor cannot be read", attr="cursor")
    return position


refuse_other_methods(router, Depends(get_project))
