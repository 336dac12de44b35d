"""The endpoints that list the names of events and of properties, in the shapes of 2022."""

import time
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query
from fastapi.params import Depends

from app.accounts.auth.dependencies import get_project, require_scope
from app.common.errors import NotFound
from app.db.models import EventDefinition, PropertyDefinition
from app.events.definitions.choices import read_event_choice, read_property_choice
from app.events.definitions.dependencies import DefinitionsDep
from app.events.definitions.names import VOLUME_DAYS
from app.events.definitions.schemas import EXAMPLE_ID, EventDefinitionRead, PropertyDefinitionRead
from app.http.pagination import PaginationDep
from app.http.routing import answer_other_methods
from app.http.schemas import Page
from app.http.strictness import OF_2022

router = APIRouter(
    prefix="/api/projects/{project_id}",
    tags=["Events and persons"],
    dependencies=[require_scope("event"), OF_2022],
)

_SECONDS_OF_A_DAY = 86_400
EventDefinitionId = Annotated[str, Path(description="The id of a name of events: a UUID.", examples=[EXAMPLE_ID])]
PropertyDefinitionId = Annotated[str, Path(description="The id of a property: a UUID.", examples=[EXAMPLE_ID])]
Search = Annotated[str | None, Query(description="Only names that hold each of these words.", examples=["page"])]


@router.get("/event_definitions/", summary="List the names of events")
async def list_event_definitions(
    definitions: DefinitionsDep,
    pagination: PaginationDep,
    search: Search = None,
    event_type: Annotated[
        str | None,
        Query(description="`event` or `all`: every name. `event_posthog`: those with `$`; `event_custom`: the others."),
    ] = None,
    ordering: Annotated[
        str | None,
        Query(
            description="`name`, `volume_30_day` or `last_seen_at`, descending with `-`. Unless it is given, the most "
            "frequent come first."
        ),
    ] = None,
) -> Page[EventDefinitionRead]:
    """Return the names of the project's events, with how many there were and when the last one was.

    They are kept from what arrives: a list looks through the events that came since the last one, for two seconds at
    most, and the background does so too. A project keeps 10,000 names.
    """
    choice = read_event_choice(search, event_type, ordering, int(time.time()) // _SECONDS_OF_A_DAY)
    count, found = await definitions.event_page(choice, pagination.limit, pagination.offset)
    return pagination.page(count, [_read_event(*one) for one in found])


@router.get("/event_definitions/{event_definition_id}/", summary="Retrieve the name of an event")
async def retrieve_event_definition(
    event_definition_id: EventDefinitionId, definitions: DefinitionsDep
) -> EventDefinitionRead:
    """Return one name of events."""
    since = int(time.time()) // _SECONDS_OF_A_DAY - VOLUME_DAYS + 1
    return _read_event(*await definitions.event(_read_id(event_definition_id), since))


@router.get("/property_definitions/", summary="List the names of properties")
async def list_property_definitions(
    definitions: DefinitionsDep,
    pagination: PaginationDep,
    search: Search = None,
    type: Annotated[  # noqa: A002  # the name of 2022
        str | None, Query(description="Whose properties: `event`, the default, `person` or `group`.")
    ] = None,
    group_type_index: Annotated[str | None, Query(description="The type of the groups, 0 to 4: for `group`.")] = None,
    properties: Annotated[str | None, Query(description="Only these names, with commas between them.")] = None,
    excluded_properties: Annotated[str | None, Query(description="All but these names: a JSON list.")] = None,
    is_numerical: Annotated[str | None, Query(description="`true`: only properties that hold numbers.")] = None,
    is_feature_flag: Annotated[
        str | None, Query(description="`true`: only `$feature/...`; `false`: all others.")
    ] = None,
    event_names: Annotated[
        str | None,
        Query(
            description="A JSON list of names of events: `is_seen_on_filtered_events` says which properties they have.",
            examples=['["purchase"]'],
        ),
    ] = None,
    filter_by_event_names: Annotated[
        str | None, Query(description="`true`: only properties that events of `event_names` have.")
    ] = None,
) -> Page[PropertyDefinitionRead]:
    """Return the names of properties, with what they hold.

    They are those of the events themselves, and for persons and groups what events set of them (`$set`, `$set_once`,
    `$group_set`). Names that only capture understands are left out.
    """
    choice = read_property_choice(
        search,
        type,
        group_type_index,
        properties,
        excluded_properties,
        is_numerical,
        is_feature_flag,
        event_names,
        filter_by_event_names,
    )
    count, found = await definitions.property_page(choice, pagination.limit, pagination.offset)
    asks_for_events = bool(choice.events)
    return pagination.page(count, [_read_property(one, seen=seen if asks_for_events else None) for one, seen in found])


@router.get("/property_definitions/{property_definition_id}/", summary="Retrieve the name of a property")
async def retrieve_property_definition(
    property_definition_id: PropertyDefinitionId, definitions: DefinitionsDep
) -> PropertyDefinitionRead:
    """Return one property."""
    return _read_property(await definitions.property(_read_id(property_definition_id)), seen=None)


def _read_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise NotFound from error


def _read_event(definition: EventDefinition, volume: int) -> EventDefinitionRead:
    return EventDefinitionRead(
        id=definition.id,
        name=definition.name,
        volume_30_day=volume,
        query_usage_30_day=None,
        created_at=definition.created_at,
        last_seen_at=definition.last_seen_at,
        last_updated_at=definition.last_seen_at,
        tags=[],
        is_action=False,
        action_id=None,
        is_calculating=False,
        last_calculated_at=None,
        created_by=None,
        post_to_slack=False,
    )


def _read_property(definition: PropertyDefinition, *, seen: bool | None) -> PropertyDefinitionRead:
    return PropertyDefinitionRead.model_validate(
        {
            "id": definition.id,
            "name": definition.name,
            "is_numerical": definition.property_type == "Numeric",
            "query_usage_30_day": None,
            "property_type": definition.property_type,
            "tags": [],
            "is_seen_on_filtered_events": seen,
        }
    )


answer_other_methods(router, Depends(get_project))
