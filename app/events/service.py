"""Lists events, and finds those that pass a filter."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

from app.common import limits
from app.common.page_sizes import fitting
from app.common.time_slices import TimeSlices
from app.db.models import Event, Person
from app.events.filters import EventFilter
from app.events.history import EventHistory
from app.events.repository import EventSelection
from app.people.cohorts.service import CohortService, LoadedCohorts
from app.people.directory.service import PersonDirectory
from app.people.persons.service import PersonService

_READ_AT_A_TIME = 1_000
_NO_PROPERTIES = "{}"


@dataclass(frozen=True)
class FoundEvents:
    """A page of events with their current persons, by the person id of the event.

    ``last`` is the position, time and sequence number, of the last event that was looked at, where others follow.
    """

    events: Sequence[Event]
    persons: Mapping[int, Person]
    last: tuple[int, int] | None


class EventList:
    """The events of one project, newest first."""

    def __init__(
        self, events: EventHistory, persons: PersonService, directory: PersonDirectory, cohorts: CohortService
    ) -> None:
        self._events = events
        self._persons = persons
        self._directory = directory
        self._cohorts = cohorts

    async def of_person(self, selection: EventSelection, reference: str | None) -> EventSelection:
        """Return the selection of one person's events; of none where there is no such person."""
        if not reference:
            return selection
        return replace(selection, person_ids=tuple(await self._directory.numbers(reference)))

    async def page(self, selection: EventSelection, limit: int) -> FoundEvents:
        """Return the events of a selection."""
        measured = await self._events.sizes(selection, limit + 1)
        count = await self._fitting(measured[:limit])
        events = await self._events.page(selection, count) if count else []
        persons = await self._persons.by_ids([event.person_id for event in events])
        has_more = bool(events) and len(measured) > len(events)
        return FoundEvents(events, persons, _position(events[-1]) if has_more else None)

    async def find(self, selection: EventSelection, wanted: EventFilter, limit: int) -> FoundEvents:
        """Return the events of a selection that pass a filter. The page ends where enough events were read."""
        loaded = await self._cohorts.load_criteria(wanted.criteria)
        found: list[Event] = []
        rows, size, are_all = 0, 0, False
        while not are_all and rows < limits.SEARCHED_ROWS.value and size < limits.SEARCHED_BYTES.value:
            at_most = min(_READ_AT_A_TIME, limits.SEARCHED_ROWS.value - rows)
            measured = await self._events.sizes(selection, at_most)
            persons = await self._persons.sizes([person_id for person_id, _ in measured]) if wanted.criteria else {}
            sizes = [bytes_ + persons.pop(person_id, 0) for person_id, bytes_ in measured]  # a person is read once
            count = fitting(sizes)
            are_all = count == len(measured) < at_most
            events = await self._events.page(selection, count) if count else []
            found += await self._passing(events, wanted, loaded)
            rows, size = rows + len(events), size + sum(sizes[:count])
            if events:
                selection = replace(selection, cursor=_position(events[-1]))
            if len(found) > limit or sum(len(event.properties) for event in found) > limits.PAGE_BYTES.value:
                break
        return await self._cut(found, limit, None if are_all else selection.cursor)

    async def _cut(self, found: Sequence[Event], limit: int, last: tuple[int, int] | None) -> FoundEvents:
        count = await self._fitting([(event.person_id, len(event.properties)) for event in found[:limit]])
        shown = found[:count]
        persons = await self._persons.by_ids([event.person_id for event in shown])
        return FoundEvents(shown, persons, _position(shown[-1]) if count < len(found) else last)

    async def _passing(self, events: Sequence[Event], wanted: EventFilter, loaded: LoadedCohorts) -> list[Event]:
        inside: Mapping[int, Set[int]] = {}
        if wanted.criteria:
            ids = list({event.person_id for event in events})
            documents = dict.fromkeys(ids, _NO_PROPERTIES) | await self._persons.documents(ids)
            inside = await self._cohorts.containing(loaded, documents)
        slices = TimeSlices()
        passing = []
        for event in events:
            if wanted.passes(event.properties, inside.get(event.person_id, ())):
                passing.append(event)
            if slices.are_over():
                await slices.pause()
        return passing

    async def _fitting(self, measured: Sequence[tuple[int, int]]) -> int:
        """Return how many events fit into a page with their persons, of given person ids and bytes."""
        sizes = await self._persons.sizes([person_id for person_id, _ in measured])
        return fitting(bytes_ + sizes.get(person_id, 0) for person_id, bytes_ in measured)


def _position(event: Event) -> tuple[int, int]:
    return event.time, event.sequence
