"""The endpoint that lists events."""

from collections.abc import Mapping
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request, Response
from fastapi.params import Depends
from pydantic import WithJsonSchema

from app.accounts.auth.dependencies import get_project, require_scope
from app.accounts.auth.rate_limits import ANALYTICS
from app.common.errors import ValidationFailed
from app.common.page_sizes import fitting
from app.common.timestamps import from_microseconds
from app.db.models import Event, Person
from app.events.dependencies import EventsDep
from app.events.repository import EventSelection
from app.events.schemas import EventPage
from app.http.pagination import LimitText, Links, read_limit
from app.http.query_params import read_moment, read_text
from app.http.routing import answer_other_methods
from app.http.strictness import OF_2022
from app.people.persons.dependencies import PersonsDep

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
    events: EventsDep,
    persons: PersonsDep,
    event: Annotated[str | None, Query(description="Only events of this name.")] = None,
    distinct_id: Annotated[str | None, Query(description="Only events of this distinct id.")] = None,
    after: Annotated[MomentText, Query(description="Only events later than this date and time.")] = None,
    before: Annotated[MomentText, Query(description="Only events earlier than this date and time.")] = None,
    limit: LimitText = None,
    cursor: Annotated[str | None, Query(description="The start of a page, as in `next`.")] = None,
) -> Response:
    """Return events, newest first, with their current persons. `next` neither skips nor repeats an event.

    A page has at most a thousand events, and fewer where they are large.
    """
    size = read_limit(limit)
    selection = EventSelection(
        name=read_text(event),
        distinct_id=read_text(distinct_id),
        after=read_moment(after, "after"),
        before=read_moment(before, "before"),
        cursor=_read_cursor(cursor),
    )
    measured = await events.sizes(selection, size + 1)
    person_sizes = await persons.sizes([person_id for person_id, _ in measured])
    count = fitting(bytes_ + person_sizes.get(person_id, 0) for person_id, bytes_ in measured[:size])
    page = await events.page(selection, count) if count else []
    persons_by_id = await persons.by_ids([row.person_id for row in page])
    following = None
    if page and len(measured) > len(page):
        following = Links(request).replacing(cursor=f"{page[-1].time}_{page[-1].sequence}")
    body = {"next": following, "results": [_read(row, persons_by_id.get(row.person_id)) for row in page]}
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
