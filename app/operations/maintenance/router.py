"""The endpoints that erase persons."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.params import Depends
from pydantic import WithJsonSchema

from app.accounts.auth.dependencies import UserDep, get_project, require_scope
from app.common.errors import NotFound, ValidationFailed
from app.http.request_body import body_of
from app.http.routing import answer_other_methods
from app.operations.maintenance.dependencies import ErasureDep
from app.operations.maintenance.schemas import PersonsDeletion
from app.people.directory.dependencies import PersonId
from app.people.directory.service import read_person_reference

# The paths of single persons are shared with `app/people/persons/router.py`, which answers their other methods.
router = APIRouter(
    prefix="/api/projects/{project_id}/persons", tags=["Events and persons"], dependencies=[require_scope("person")]
)

_MEANINGS = {"": True, "true": True, "1": True, "false": False, "0": False}


@router.delete("/{person_id}/", status_code=204, summary="Erase a person")
async def delete_person(
    person_id: PersonId,
    user: UserDep,
    erasure: ErasureDep,
    delete_events: Annotated[
        str | None,
        WithJsonSchema({"type": "boolean", "default": False}),
        Query(description="Whether the person's events are removed too."),
    ] = None,
) -> Response:
    """Erase a person: properties, distinct ids, entries on lists of cohorts, and what flags remember. It is final.

    Results stay as they are: what was counted of the person counts on, under a number that leads to no one. With
    `delete_events` the events are removed as well, of which metrics that are created later then know nothing; those of
    a large project are removed in the background. Without it they stay as they were sent, with their distinct id and
    without a person. A person who comes back is a new person.
    """
    removes_events = _read_boolean(delete_events)
    reference = read_person_reference(person_id)
    if reference is None:
        raise NotFound
    await erasure.erase(reference, user, removes_events=removes_events)
    return Response(status_code=204)


@router.post("/bulk_delete/", status_code=202, summary="Erase several persons", response_class=Response)
async def delete_persons(
    user: UserDep, erasure: ErasureDep, body: Annotated[PersonsDeletion, body_of(PersonsDeletion)]
) -> Response:
    """Erase persons by `ids` or `distinct_ids`, as `DELETE` does with each. Unknown ones are skipped."""
    references, names = body.references(), body.names()
    if bool(references) == bool(names):
        raise ValidationFailed("You need to specify either distinct_ids or ids")
    await erasure.erase_all(references, user, distinct_ids=names, removes_events=body.delete_events)
    return Response(status_code=202)


def _read_boolean(text: str | None) -> bool:
    """Read a parameter that was a mere mention in 2022; what is neither yes nor no must not remove anything."""
    if text is None:
        return False
    found = _MEANINGS.get(text.lower())
    if found is None:
        raise ValidationFailed(f"delete_events is true or false, got {text[:100]!r}", attr="delete_events")
    return found


answer_other_methods(router, Depends(get_project), shared=["/{person_id}/"])  # of which persons declare most
