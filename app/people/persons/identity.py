"""The rules by which events create, change and merge persons.

These are the rules of PostHog's ingestion in late 2022, in order of arrival: a person is merged into another only while
it is anonymous (``$merge_dangerously``, of 2023, merges in any case), and the person that an event belongs to keeps its
own value of a property that both have.
"""

import datetime as dt
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID, uuid4

from app.common.limits import DISTINCT_IDS, PERSON_PROPERTY_BYTES
from app.common.timestamps import from_microseconds
from app.people.cookieless.visitors import is_cookieless
from app.people.properties import Properties, PropertyDocument, is_equal

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

_CREATOR = "$creator_event_uuid"


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
    def unset(self) -> Set[str]: ...
    @property
    def may_change_person(self) -> bool: ...
    @property
    def person_bytes(self) -> int: ...
    @property
    def origin_bytes(self) -> int: ...
    @property
    def writes_profile(self) -> bool: ...


class PersonState:
    """A person while a batch is applied.

    Attributes
    ----------
    id : int or None
        None until the person is stored.
    ids : int
        The number of distinct ids, where events may join persons.
    has_profile : bool
        False while all events of the person asked for none to be written.
    """

    __slots__ = (
        "changed",
        "created_at",
        "document",
        "has_profile",
        "id",
        "ids",
        "is_identified",
        "merged_into",
        "uuid",
    )

    def __init__(
        self,
        id: int | None,  # noqa: A002  # as the column
        uuid: UUID,
        properties: Properties | PropertyDocument,
        is_identified: bool,  # noqa: FBT001  # a column among columns
        created_at: dt.datetime,
        has_profile: bool = True,  # noqa: FBT001, FBT002  # as above
    ) -> None:
        self.id = id
        self.uuid = uuid
        self.document: PropertyDocument = (
            properties
            if isinstance(properties, PropertyDocument)
            else PropertyDocument(properties, PERSON_PROPERTY_BYTES)
        )
        self.is_identified = is_identified
        self.created_at = created_at
        self.has_profile = has_profile
        self.ids = 0
        self.changed = False
        self.merged_into: PersonState | None = None

    @property
    def properties(self) -> Properties:
        return self.document.values

    def survivor(self) -> "PersonState":
        """Return the person that this one was merged into, or the person itself."""
        survivor = self
        while survivor.merged_into is not None:
            survivor = survivor.merged_into
        state = self
        while state.merged_into is not None and state.merged_into is not survivor:  # so that a chain is walked once
            state.merged_into, state = survivor, state.merged_into
        return survivor

    def mark_identified(self) -> None:
        if not self.is_identified:
            self.is_identified = True
            self.changed = True

    def update(self, event: IdentityEvent) -> None:
        """Apply ``$set_once``, ``$set`` and ``$unset``, in this order; the first such event begins the profile."""
        if not event.writes_profile:
            return
        if not self.has_profile:
            self.has_profile = self.changed = True
            self.created_at = from_microseconds(event.time)
            self.document.assign(_CREATOR, str(event.uuid))
        held = self.document.values
        once, sent, removed = event.set_once, event.set, event.unset
        changed: Properties = {}
        if not once.keys() <= held.keys():  # browsers repeat the origin of their person with every event
            changed = {key: value for key, value in self.document.cut(once).items() if key not in held}
        if sent:
            sent = self.document.cut(sent)
            changed |= {k: value for k, value in sent.items() if k not in held or not is_equal(held[k], value)}
        if removed:
            changed = {key: value for key, value in changed.items() if key not in removed}
            self.changed |= self.document.remove(removed)
        if changed:
            self.changed |= self.document.assign_all(changed, event.person_bytes + event.origin_bytes)


@dataclass
class IdentityChanges:
    """The changes to store after a batch."""

    created: list[PersonState] = field(default_factory=list)
    merged: list[PersonState] = field(default_factory=list)
    distinct_ids: dict[str, PersonState] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)  # distinct ids whose persons would have had too many of them


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
            target.mark_identified()
            if self._has_room(target, 1, event):
                self._assign(previous_id, target)
        elif target is None and previous is not None:
            if self._has_room(previous, 1, event):
                self._assign(event.distinct_id, previous)
                previous.mark_identified()
        elif previous is not None and target is not None:
            target.mark_identified()
            is_merged = previous is not target and (event.is_merge_forced or not previous.is_identified)
            if is_merged and self._has_room(target, previous.ids, event):
                self._merge(previous, target)

    def _has_room(self, person: PersonState, ids: int, event: IdentityEvent) -> bool:
        if person.ids + ids <= DISTINCT_IDS.value:
            return True
        self.changes.refused.append(event.distinct_id)
        return False

    def _merge(self, previous: PersonState, target: PersonState) -> None:
        target.document.absorb(previous.document)
        target.ids += previous.ids
        if previous.has_profile:
            is_older = not target.has_profile or previous.created_at < target.created_at
            target.created_at = previous.created_at if is_older else target.created_at
            target.has_profile = True
        target.changed = True
        previous.merged_into = target
        self.changes.merged.append(previous)

    def _create(self, event: IdentityEvent, distinct_ids: Sequence[str], *, is_identified: bool) -> PersonState:
        person = PersonState(
            id=None,
            uuid=uuid4(),
            properties={_CREATOR: str(event.uuid)} if event.writes_profile else {},
            is_identified=is_identified,
            created_at=from_microseconds(event.time),
            has_profile=event.writes_profile,
        )
        if event.writes_profile:
            self._begin(person, event)
        self.changes.created.append(person)
        for distinct_id in distinct_ids:
            self._assign(distinct_id, person)
        return person

    def _begin(self, person: PersonState, event: IdentityEvent) -> None:
        properties = person.document.cut({**event.set_once, **event.set})
        properties.pop(_CREATOR, None)
        person.document.assign_all(properties, event.person_bytes + event.origin_bytes)

    def _assign(self, distinct_id: str, person: PersonState) -> None:
        person.ids += 1
        self._persons[distinct_id] = person
        self.changes.distinct_ids[distinct_id] = person


def can_merge(previous_id: str, target_id: str) -> bool:
    return previous_id != target_id and not is_illegal(previous_id) and not is_illegal(target_id)


def is_illegal(distinct_id: str) -> bool:
    """Whether a distinct id is not one of a single person who may be joined with others."""
    return (
        is_cookieless(distinct_id)
        or not distinct_id.strip()
        or distinct_id.lower() in _ILLEGAL_IN_ANY_CASE
        or distinct_id in _ILLEGAL
    )
