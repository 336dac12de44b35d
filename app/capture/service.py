"""Storing captured events with their persons, in one transaction."""

import datetime as dt
from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.capture.decoding import CapturedBatch, CapturedEvent
from app.database import Database
from app.errors import AuthenticationFailed
from app.events.repository import EventRepository, NewEvent
from app.groups.decoding import GROUP_IDENTIFY
from app.groups.repository import GroupRepository
from app.groups.service import GroupService
from app.moments import to_microseconds
from app.persons.repository import PersonRepository
from app.persons.service import PersonService
from app.projects.repository import AccountRepository

_WHERE_TO_FIND_IT = "You can find your project API key in PostHog project settings."


class CaptureService:
    """Opens its transaction when the whole request has been read: a slow client must not hold up other writers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def store(self, batch: CapturedBatch, received_at: dt.datetime) -> None:
        """Store a batch under the project that its token names.

        Raises
        ------
        AuthenticationFailed
            With the 2022 codes ``missing_api_key`` and ``invalid_api_key``.
        """
        if batch.token is None:
            raise AuthenticationFailed(f"API key not provided. {_WHERE_TO_FIND_IT}", code="missing_api_key")
        async with self._database.write() as session:
            project = await AccountRepository(session).find_project_by_token(batch.token)
            if project is None:
                raise AuthenticationFailed(f"Project API key invalid. {_WHERE_TO_FIND_IT}", code="invalid_api_key")
            await self._store(session, project.id, batch.events, to_microseconds(received_at))

    async def _store(
        self, session: AsyncSession, project_id: int, captured: Sequence[CapturedEvent], received_at: int
    ) -> None:
        stored_events = EventRepository(session, project_id)
        persons = PersonService(PersonRepository(session, project_id))
        events: Sequence[CapturedEvent] = list({event.uuid: event for event in reversed(captured)}.values())[::-1]
        properties = await self._learn_groups(session, project_id, events)
        person_ids = await persons.known(events)
        if person_ids is None:
            await persons.lock()
            # A batch that is sent again must not change persons again, so what is known is left out first.
            known = await stored_events.known([event.uuid for event in events])
            events = [event for event in events if event.uuid not in known]
            person_ids = await persons.apply(events)
        await stored_events.append(
            [
                NewEvent(
                    uuid=event.uuid,
                    name=event.name,
                    distinct_id=event.distinct_id,
                    person_id=person_ids[event.distinct_id],
                    time=event.time,
                    received_at=received_at,
                    properties=properties.get(event.uuid, event.properties),
                )
                for event in events
            ]
        )

    async def _learn_groups(
        self, session: AsyncSession, project_id: int, events: Sequence[CapturedEvent]
    ) -> Mapping[UUID, str]:
        """Work in what events say of groups; return the properties of those that belong to any, by uuid."""
        groups = GroupService(GroupRepository(session, project_id))
        properties = await groups.assign(events)
        describing = [event for event in events if event.name == GROUP_IDENTIFY]
        if describing:
            known = await EventRepository(session, project_id).known([event.uuid for event in describing])
            await groups.describe([event for event in describing if event.uuid not in known])
        return properties
