"""The endpoints that find, read and change persons. Erasure is in `app/operations/erasure`."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.params import Depends

from app.accounts.auth.dependencies import ProjectDep, UserDep, get_project, require_scope
from app.accounts.auth.rate_limits import ANALYTICS
from app.common.errors import ValidationFailed
from app.http.dependencies import search_slot
from app.http.pagination import Pagination, PaginationDep
from app.http.query_params import read_text
from app.http.request_body import body_of
from app.http.routing import answer_other_methods
from app.http.strictness import OF_2022
from app.people.directory.dependencies import DirectoryDep, KnownPersonDep, PersonId
from app.people.directory.filters import both_filters, read_cohort_filter, read_properties_filter
from app.people.directory.names import in_order, name_of
from app.people.directory.service import PersonDirectory, PersonSelection, ShownPerson
from app.people.persons.schemas import (
    PersonPage,
    PersonRead,
    PersonSplit,
    PersonUpdate,
    PropertyDeletion,
    PropertyUpdate,
    Success,
)

router = APIRouter(
    prefix="/api/projects/{project_id}/persons",
    tags=["Events and persons"],
    dependencies=[require_scope("person", ANALYTICS), OF_2022],
)

_LAST_ID = 2**63 - 1


async def read_selection(
    distinct_id: Annotated[str | None, Query(description="Only the person that has this id.")] = None,
    email: Annotated[
        str | None, Query(description="Only persons whose property `email` is this.", examples=["ann@example.com"])
    ] = None,
    search: Annotated[
        str | None,
        Query(description="Only persons whose property `email` contains this text, in any case, or that have this id."),
    ] = None,
    properties: Annotated[
        str | None,
        Query(
            description="Only persons that meet these conditions: JSON, as in cohorts and metrics.",
            examples=['[{"key": "plan", "value": ["team"], "operator": "exact", "type": "person"}]'],
        ),
    ] = None,
    cohort: Annotated[str | None, Query(description="Only members of the cohort with this id.", examples=["1"])] = None,
) -> PersonSelection:
    criteria = both_filters(await read_properties_filter(read_text(properties)), read_cohort_filter(cohort))
    return PersonSelection(read_text(distinct_id), read_text(email), read_text(search), criteria)


@router.get("/", summary="List persons")
async def list_persons(
    request: Request,
    project: ProjectDep,
    directory: DirectoryDep,
    pagination: PaginationDep,
    selection: Annotated[PersonSelection, Depends(read_selection)],
    cursor: Annotated[str | None, Query(description="The start of a page, as in `next`.")] = None,
) -> PersonPage:
    """Return persons, newest first. A person that was merged into another is shown as part of the other.

    Filters are combined: persons are shown that pass all of them. With `properties` or `cohort` a page ends where
    enough persons were tested, so it may have few results, or none: follow `next` to the end.
    """
    if selection.is_tested:
        async with search_slot(request, project.id):
            return await _find(directory, pagination, selection, _read_cursor(cursor))
    count, shown = await directory.page(selection.distinct_id, pagination.limit, pagination.offset)
    return PersonPage(
        next=pagination.next(count, len(shown)),
        previous=pagination.previous(),
        results=[_read(person) for person in shown],
    )


async def _find(
    directory: PersonDirectory, pagination: Pagination, selection: PersonSelection, before: int | None
) -> PersonPage:
    found = await directory.find(selection, pagination.limit, pagination.offset, before)
    following = None
    if found.last is not None:
        following = pagination.after(str(found.last), pagination.offset - found.skipped)
    return PersonPage(next=following, previous=None, results=[_read(person) for person in found.persons])


@router.get("/{person_id}/", summary="Retrieve a person")
async def retrieve_person(person_id: PersonId, directory: DirectoryDep) -> PersonRead:
    """Return one person, by id or UUID. By a distinct id persons are found with `?distinct_id=` of the list."""
    return _read(await directory.get(person_id))


@router.patch("/{person_id}/", status_code=204, summary="Set properties of a person")
async def update_person(
    person_id: KnownPersonDep,
    user: UserDep,
    directory: DirectoryDep,
    body: Annotated[PersonUpdate, body_of(PersonUpdate)],
) -> Response:
    """Set the properties that are sent; others stay as they are. No event is stored."""
    await directory.set_properties(person_id, body.properties, user)
    return Response(status_code=204)


@router.put("/{person_id}/", status_code=204, summary="Set properties of a person (PUT)")
async def replace_person(
    person_id: KnownPersonDep,
    user: UserDep,
    directory: DirectoryDep,
    body: Annotated[PersonUpdate, body_of(PersonUpdate)],
) -> Response:
    """Do what PATCH does, as in 2022: properties that are not sent stay."""
    return await update_person(person_id, user, directory, body)


@router.post("/{person_id}/update_property/", status_code=204, summary="Set a property of a person")
async def update_person_property(
    person_id: KnownPersonDep,
    user: UserDep,
    directory: DirectoryDep,
    body: Annotated[PropertyUpdate, body_of(PropertyUpdate)],
) -> Response:
    """Set one property. No event is stored."""
    await directory.set_properties(person_id, {body.key: body.value}, user)
    return Response(status_code=204)


@router.post("/{person_id}/delete_property/", status_code=201, summary="Remove a property of a person")
async def delete_person_property(
    person_id: KnownPersonDep,
    user: UserDep,
    directory: DirectoryDep,
    body: Annotated[PropertyDeletion, body_of(PropertyDeletion)],
) -> Success:
    """Remove one property. If the person does not have it, nothing changes. No event is stored."""
    await directory.remove_property(person_id, body.unset, user)
    return Success(success=True)


@router.post("/{person_id}/split/", status_code=201, summary="Split a person")
async def split_person(
    person_id: KnownPersonDep,
    user: UserDep,
    directory: DirectoryDep,
    body: Annotated[PersonSplit, body_of(PersonSplit)],
) -> Success:
    """Give every distinct id but one a person of its own, without properties: undo a wrong merge, from now on.

    Events that arrived before stay with the person, so results do not change; later ones belong to the new persons,
    who count as others.
    """
    await directory.split(person_id, body.main_distinct_id, user)
    return Success(success=True)


def _read(shown: ShownPerson) -> PersonRead:
    person = shown.person
    return PersonRead(
        id=person.id,
        uuid=person.uuid,
        name=name_of(person.properties, shown.distinct_ids),
        distinct_ids=in_order(shown.distinct_ids),
        properties=person.properties,
        is_identified=person.is_identified,
        created_at=person.created_at,
    )


def _read_cursor(text: str | None) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(_LAST_ID))):
        raise ValidationFailed("The cursor cannot be read", attr="cursor")
    return min(int(text), _LAST_ID)


answer_other_methods(router, Depends(get_project))
