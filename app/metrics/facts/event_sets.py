"""The series and filters that select all events of an entity."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from app.metrics.facts.series import EventSource, SeriesDefinition
from app.metrics.facts.sessions import MARGIN
from app.properties.filters import Conjunction, Group, canonical
from app.properties.splitting import alternatives
from app.properties.subjects import Subject, atoms, subject

SESSION_PROPERTY = "$session_id"
_GROUP_PREFIX = "$group_"
# When sessions began and ended: one fact for each event of each session.
SESSIONS = SeriesDefinition(
    (EventSource(None, Conjunction()),), None, actor_property=SESSION_PROPERTY, actor_required=True
)


def group_property(type_index: int) -> str:
    """Return the event property that holds the key of a group."""
    return f"{_GROUP_PREFIX}{type_index}"


def names_actors(name: str) -> bool:
    """Whether a property names sessions or groups; others are kept as the values of breakdowns."""
    return name == SESSION_PROPERTY or name.startswith(_GROUP_PREFIX)


@dataclass(frozen=True)
class FilteredSeries:
    """A series, and a filter on its actors that is evaluated when facts are read, against their properties today."""

    series: SeriesDefinition
    condition: Group

    @property
    def companions(self) -> Mapping[Subject, SeriesDefinition]:
        """The series to read for each subject of the condition: the same events, with that subject as the actor.

        Facts of both are joined by sequence number. Where the series has such actors already, it is the series itself.
        """
        found: dict[Subject, SeriesDefinition] = {}
        for atom in atoms(self.condition):
            about = subject(atom)
            if about is not None:
                found[about] = self._with_actor(_actor_property(about))
        return found

    def _with_actor(self, actor_property: str | None) -> SeriesDefinition:
        if actor_property == self.series.actor_property:
            return self.series
        return replace(
            self.series,
            value_property=None,
            actor_property=actor_property,
            actor_required=actor_property is not None,
        )

    @property
    def all_series(self) -> list[SeriesDefinition]:
        """All series that have to be materialized before this one can be read."""
        companions = self.companions
        sessions = [SESSIONS] if any(about.kind == "session" for about in companions) else []
        return [self.series, *companions.values(), *sessions]


@dataclass(frozen=True)
class EventSet:
    """The events of an entity: the union of the parts, each event once.

    ``padding`` widens the window for them on both sides, in microseconds.
    """

    parts: tuple[FilteredSeries, ...]
    padding: int = 0

    @property
    def only_series(self) -> SeriesDefinition | None:
        """The single series of facts that holds all events; None where more has to be read."""
        if len(self.parts) != 1 or self.padding:
            return None
        [part] = self.parts
        return None if part.condition.children else part.series

    @cached_property
    def digest(self) -> str:
        """Equal for sets that select the same events."""
        document = [self.padding, sorted([part.series.digest, canonical(part.condition)] for part in self.parts)]
        return hashlib.sha256(json.dumps(document).encode()).hexdigest()

    @property
    def all_series(self) -> list[SeriesDefinition]:
        """All series that have to be materialized before the set can be read."""
        return [series for part in self.parts for series in part.all_series]


ALL_SESSIONS = EventSet((FilteredSeries(SESSIONS, Conjunction()),), MARGIN)


def event_set(
    sources: Iterable[EventSource],
    variant_property: str | None,
    *,
    value_property: str | None = None,
    actor_property: str | None = None,
    actor_required: bool = False,
) -> EventSet:
    """Split the filters of sources: into series, for what events tell, and conditions to evaluate when facts are read.

    There is one part unless the sources differ in such conditions, or a disjunction mixes both kinds.

    Raises
    ------
    InvalidFilter
        When there are too many combinations.
    """
    parts: dict[str, tuple[Group, list[EventSource]]] = {}
    for source in sources:
        for one in alternatives(source.filter):
            _, together = parts.setdefault(canonical(one.later), (one.later, []))
            together.append(EventSource(source.name, one.event))
    return EventSet(
        tuple(
            FilteredSeries(
                SeriesDefinition(tuple(together), variant_property, value_property, actor_property, actor_required),
                condition,
            )
            for condition, together in parts.values()
        )
    )


def series_of(event_sets: Sequence[EventSet]) -> list[SeriesDefinition]:
    """Return all series that the event sets need, each once."""
    return list({series.digest: series for event_set in event_sets for series in event_set.all_series}.values())


def _actor_property(about: Subject) -> str | None:
    if about.kind == "group":
        return group_property(about.group_type_index)
    return SESSION_PROPERTY if about.kind == "session" else None
