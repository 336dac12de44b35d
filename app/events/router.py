"""The endpoint that lists events."""

import contextlib
from collections.abc import Mapping
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request, Response
from fastapi.params import Depends
from pydantic import WithJsonSchema

from app.accounts.auth.dependencies import ProjectDep, get_project, require_scope
from app.accounts.auth.rate_limits import ANALYTICS
from app.common.errors import ValidationFailed
from app.common.timestamps import from_microseconds
from app.db.models import Event, Person
from app.events.dependencies import EventsDep
from app.events.filters import read_event_filter
from app.events.repository import EventSelection
from app.events.schemas import EventPage
from app.http.dependencies import search_slot
from app.http.pagination import LimitText, Links, read_limit
from app.http.query_params import read_moment, read_text
from app.http.routing import answer_other_methods
from app.http.strictness import OF_2022

router = APIRouter(
    prefix="/api/projects/{project_id}/events",
    tags=["Events and persons"],
    dependencies=[require_scope("event", ANALYTICS), OF_2022],
)

MomentText = Annotated[
    str | None,
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "format": "date-time"}, {"type": "string", "maxLength": 0}],
            "examples": ["2022-11-02T00:00:00Z"],
        }
    ),
]


@router.get("/", summary="List events", response_class=Response, responses={200: {"model": EventPage}})
async def list_events(
    request: Request,
    project: ProjectDep,
    events: EventsDep,
    event: Annotated[str | None, Query(description="Only events of this name.")] = None,
    distinct_id: Annotated[str | None, Query(description="Only events of this distinct id.")] = None,
    person_id: Annotated[
        str | None, Query(description="Only events of the person with this id or UUID, under any distinct id.")
    ] = None,
    properties: Annotated[
        str | None,
        Query(
            description="Only events that meet these conditions: JSON, as in metrics. Those of the type `event`, the "
            "default, are about the event; those of the type `person` are about the person as of now. Cohorts can be "
            "named.",
            examples=['[{"key": "amount", "value": 10, "operator": "gt", "type": "event"}]'],
        ),
    ] = None,
    after: Annotated[MomentText, Query(description="Only events later than this date and time.")] = None,
    before: Annotated[MomentText, Query(description="Only events earlier than this date and time.")] = None,
    limit: LimitText = None,
    cursor: Annotated[str | None, Query(description="The start of a page, as in `next`.")] = None,
) -> Response:
    """Return events, newest first, with their current persons. `next` neither skips nor repeats an event.

    Filters are combined: events are shown that pass all of them. A page has at most a thousand events, and fewer where
    they are large. With `properties` it ends where enough events were tested, so it may have few, or none: follow
    `next` to the end.
    """
    size, wanted = read_limit(limit), await read_event_filter(read_text(properties))
    selection = EventSelection(
        name=read_text(event),
        distinct_id=read_text(distinct_id),
        after=read_moment(after, "after"),
        before=read_moment(before, "before"),
        cursor=_read_cursor(cursor),
    )
    async with contextlib.nullcontext() if wanted is None else search_slot(request, project.id):
        selection = await events.of_person(selection, read_text(person_id))
        found = await (events.page(selection, size) if wanted is None else events.find(selection, wanted, size))
    following = None
    if found.last is not None:
        time, sequence = found.last
        following = Links(request).replacing(cursor=f"{time}_{sequence}")
    results = [_read(row, found.persons.get(row.person_id)) for row in found.events]
    body = {"next": following, "results": results}
    return Response(msgspec.json.encode(body), media_type="application/json")


def _read(event: Event, person: Person | None) -> Mapping[str, object]:
    """Return the fields of `EventRead`. Properties are passed on as text, so that any stored JSON can be returned."""
    return {
        "id": event.uuid,
        "distinct_id": event.distinct_id,
        "event": event.name,
        "timestamp": from_microseconds(event.time),
        "properties": msgspec.Raw(event.properties.encode()),
        "person": None if person is None else _read_person(person, event.distinct_id),
    }


def _read_person(person: Person, distinct_id: str) -> Mapping[str, object]:
    return {
        "uuid": person.uuid,
        "distinct_ids": [distinct_id],
        "properties": person.properties,
        "is_identified": person.is_identified,
        "created_at": person.created_at,
    }


def _read_cursor(text: str | None) -> tuple[int, int] | None:
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


answer_other_methods(router, Depends(get_project))
