"""Removal of archived events, when they are removed from the database."""

import contextlib
from collections.abc import AsyncIterator, Sequence

from app.common.timestamps import to_microseconds
from app.db.database import Database
from app.db.models import EventArchive, utc_now
from app.events.archive.archiver import LONGEST_INSERT
from app.events.archive.repository import ArchiveRepository, archived_events
from app.events.archive.store import ArchivedEvents


class ArchiveRemoval:
    """Removes archived events of one project; does nothing for a project that has none."""

    def __init__(self, database: Database, project_id: int) -> None:
        self._database = database
        self._project_id = project_id

    async def count_before(self, moment: int) -> int:
        """Return the number of events that are only there and happened before a time."""
        async with self._database.read() as session:
            state = await ArchiveRepository(session, self._project_id).get()
        if state is None or not state.released_until:
            return 0
        archived = archived_events(self._database, self._project_id)
        return await archived.count_before(moment, state.released_until)

    async def remove_before(self, moment: int, until: int) -> int:
        """Remove the events up to a sequence number that happened before a time; return how many were only there.

        They have to be removed from the database as well: both places must have the same until events are released.
        """
        async with self._locked() as (state, archived):
            if state is None or archived is None:
                return 0
            counted = await archived.count_before(moment, state.released_until)
            await archived.remove_before(moment, min(until, state.sending_until))
            return counted

    async def remove_of_persons(self, person_ids: Sequence[int]) -> bool:
        """Remove the events of some persons; return False where more of them may arrive, which an attempt has sent."""
        async with self._locked() as (state, archived):
            if state is None or archived is None:
                return True
            await archived.remove_of_persons(person_ids, state.sending_until)
            is_sending = state.archived_until < state.sending_until
            return not is_sending and state.interrupted_at < to_microseconds(utc_now() - LONGEST_INSERT)

    @contextlib.asynccontextmanager
    async def _locked(self) -> AsyncIterator[tuple[EventArchive | None, ArchivedEvents | None]]:
        """Yield how far the events are, while no others are copied."""
        async with self._database.read() as session:
            state = await ArchiveRepository(session, self._project_id).get()
        if state is None or not state.sending_until:
            yield None, None
            return
        archived = archived_events(self._database, self._project_id)
        async with self._database.write() as session:
            yield await ArchiveRepository(session, self._project_id).lock(), archived
