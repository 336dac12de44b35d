"""The rules by which events create, change and merge persons.

These are the rules of PostHog's ingestion in late 2022, in order of arrival: a person is merged into another only while
it is anonymous (``$merge_dangerously``, of 2023, merges in any case), and the person that an event belongs to keeps its
own value of a property that both have.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID, uuid4

from app.common.timestamps import from_microseconds

# Ids that unrelated clients send by mistake: merging by them would merge unrelated persons.
_ILLEGAL_IN_ANY_CASE = frozenset(
    {
        "anonymous",
        "guest",
        "distinctid",
        "distinct_id",
        "id",
        "not_authenticated",
        "email",
        "undefined",
        "true",
        "false",
    }
)
_ILLEGAL = frozenset({"[object Object]", "NaN", "None", "none", "null", "0", "undefined"})

Properties = dict[str, Any]  # whatever JSON clients set on persons


class IdentityEvent(Protocol):
    """The fields of an event that the rules read."""

    @property
    def uuid(self) -> UUID: ...
    @property
    def distinct_id(self) -> str: ...
    @property
    def alias(self) -> str | None: ...
    @property
    def is_merge_forced(self) -> bool: ...
    @property
    def time(self) -> int: ...
    @property
    def set(self) -> Properties: ...
    @property
    def set_once(self) -> Properties: ...
    @property
    def unset(self) -> Sequence[str]: ...


@dataclass(eq=False)
class PersonState:
    """A person while a batch is applied. ``id`` is None until the person is stored."""

    id: int | None
    uuid: UUID
    properties: Properties
    is_identified: bool
    created_at: dt.datetime
    changed: bool = False
    merged_into: "PersonState | None" = None

    def survivor(self) -> "PersonState":
        """Return the person that this one was merged into, or the person itself."""
        state = self
        while state.merged_into is not None:
            state = state.merged_into
        return state

    def mark_identified(self) -> None:
        if not self.is_identified:
            self.is_identified = True
            self.changed = True

    def update(self, event: IdentityEvent) -> None:
        """Apply ``$set_once``, ``$set`` and ``$unset``, in this order."""
        if not self._is_changed_by(event):
            return
        removed = set(event.unset)
        updated = {**event.set_once, **self.properties, **event.set}
        updated = {key: value for key, value in updated.items() if key not in removed}
        if updated != self.properties:
            self.properties = updated
            self.changed = True

    def _is_changed_by(self, event: IdentityEvent) -> bool:
        """Whether an event would change a property: browsers repeat the same properties with every event."""
        known = self.properties
        return (
            any(key not in known for key in event.set_once)
            or any(key not in known or known[key] != value for key, value in event.set.items())
            or any(key in known for key in event.unset)
        )


@dataclass
class IdentityChanges:
    """The changes to store after a batch."""

    created: list[PersonState] = field(default_factory=list)
    merged: list[PersonState] = field(default_factory=list)
    distinct_ids: dict[str, PersonState] = field(default_factory=dict)


class IdentityGraph:
    """Distinct ids and their persons, changed by one event after another."""

    def __init__(self, known: Mapping[str, PersonState]) -> None:
        self._persons = dict(known)
        self.changes = IdentityChanges()

    def apply(self, event: IdentityEvent) -> PersonState:
        """Apply one event and return its person (which a later event may merge into another)."""
        if event.alias is not None and can_merge(event.alias, event.distinct_id):
            self._identify(event.alias, event)
        person = self._find(event.distinct_id)
        if person is None:
            return self._create(event, [event.distinct_id], is_identified=False)
        person.update(event)
        return person

    def _find(self, distinct_id: str) -> PersonState | None:
        person = self._persons.get(distinct_id)
        return person.survivor() if person else None

    def _identify(self, previous_id: str, event: IdentityEvent) -> None:
        previous, target = self._find(previous_id), self._find(event.distinct_id)
        if previous is None and target is None:
            self._create(event, [event.distinct_id, previous_id], is_identified=True)
        elif previous is None and target is not None:
            self._assign(previous_id, target)
            target.mark_identified()
        elif target is None and previous is not None:
            self._assign(event.distinct_id, previous)
            previous.mark_identified()
        elif previous is not None and target is not None:
            target.mark_identified()
            if previous is not target and (event.is_merge_forced or not previous.is_identified):
                self._merge(previous, target)

    def _merge(self, previous: PersonState, target: PersonState) -> None:
        target.properties = {**previous.properties, **target.properties}
        target.created_at = min(previous.created_at, target.created_at)
        target.changed = True
        previous.merged_into = target
        self.changes.merged.append(previous)

    def _create(self, event: IdentityEvent, distinct_ids: Sequence[str], *, is_identified: bool) -> PersonState:
        person = PersonState(
            id=None,
            uuid=uuid4(),
            properties={**event.set_once, **event.set, "$creator_event_uuid": str(event.uuid)},
            is_identified=is_identified,
            created_at=from_microseconds(event.time),
        )
        self.changes.created.append(person)
        for distinct_id in distinct_ids:
            self._assign(distinct_id, person)
        return person

    def _assign(self, distinct_id: str, person: PersonState) -> None:
        self._persons[distinct_id] = person
        self.changes.distinct_ids[distinct_id] = person


def can_merge(previous_id: str, target_id: str) -> bool:
    return previous_id != target_id and not is_illegal(previous_id) and not is_illegal(target_id)


def is_illegal(distinct_id: str) -> bool:
    return not distinct_id.strip() or distinct_id.lower() in _ILLEGAL_IN_ANY_CASE or distinct_id in _ILLEGAL
