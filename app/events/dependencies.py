"""Builds the events of a project."""

from typing import Annotated

from fastapi import Depends, Request

from app.accounts.auth.dependencies import ProjectDep
from app.events.history import EventHistory
from app.events.service import EventList
from app.http.dependencies import SessionDep, get_database
from app.people.cohorts.dependencies import build_cohorts
from app.people.directory.dependencies import build_directory
from app.people.persons.dependencies import PersonsDep


async def get_events(request: Request, project: ProjectDep, session: SessionDep, persons: PersonsDep) -> EventList:
    return EventList(
        EventHistory(get_database(request), project.id, session),
        persons,
        build_directory(session, project.id),
        build_cohorts(session, project.id),
    )


EventsDep = Annotated[EventList, Depends(get_events)]
