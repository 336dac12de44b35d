"""Builds the events of a project."""

from typing import Annotated

from fastapi import Depends

from app.accounts.auth.dependencies import ProjectDep
from app.events.repository import EventRepository
from app.http.dependencies import SessionDep


async def get_events(project: ProjectDep, session: SessionDep) -> EventRepository:
    return EventRepository(session, project.id)


EventsDep = Annotated[EventRepository, Depends(get_events)]
