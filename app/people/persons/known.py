"""What a long import knows of the persons of its latest events, so that most events need not read their persons."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from msgspec import UnsetType

from app.people.persons.identity import IdentityEvent, PersonState
from app.people.persons.origin import Origin
from app.people.properties import Properties
from app.sdk.bounded_structs import Json

_GENERATION: Final = 100_000
Key = TypeVar("Key")
Value = TypeVar("Value")


class SentEvent(IdentityEvent, Protocol):
    """An event, with what was sent of the person: parts of it are compared without being decoded."""

    @property
    def campaign(self) -> Properties: ...
    @property
    def origin(self) -> Properties: ...
    @property
    def sent_origin(self) -> Origin: ...
    @property
    def sent_set(self) -> Json: ...
    @property
    def sent_set_once(self) -> Json: ...
    @property
    def sent_unset(self) -> Json: ...


class _Known(NamedTuple):
    keys: frozenset[str]  # of the properties
    said: int | None  # a hash of what was said of the person last; None where that cannot be compared
    is_identified: bool


class _Latest(Generic[Key, Value]):
    """The latest 100,000 to 200,000 values."""

    def __init__(self) -> None:
        self._recent: dict[Key, Value] = {}
        self._older: dict[Key, Value] = {}

    def find(self, key: Key) -> Value | None:
        return self._recent.get(key) or self._older.get(key)

    def add(self, values: Mapping[Key, Value]) -> None:
        self._recent |= values
        if len(self._recent) > _GENERATION:
            self._older, self._recent = self._recent, {}


class PersonChanges(NamedTuple):
    """What tells whether distinct ids of a project have got other persons.

    Attributes
    ----------
    last_merge : int
        The sequence number of the last merge.
    last_change, changes : int
        The last change of a person by a user, who may have split it, and how many there were.
    erased : int
        How many persons were erased.
    """

    last_merge: int
    last_change: int
    changes: int
    erased: int


class KnownPersons:
    """The persons of up to 200,000 distinct ids, their property names, and what was said of each last.

    Persons may be merged, split and erased meanwhile: see ``follow``. A property that an event removes meanwhile is
    taken for one that the person still has: an import does not bring it back. What is noted in a transaction counts
    once it is committed: see ``confirm`` and ``discard``.
    """

    def __init__(self) -> None:
        self.changes: PersonChanges | None = None
        self._persons: _Latest[int, _Known] = _Latest()
        self._noted: dict[int, _Known] = {}
        self._ids: _Latest[str, int] = _Latest()
        self._noted_ids: dict[str, int] = {}
        self._merged: set[int] = set()  # persons under whose number a distinct id may still be known
        self._key_sets: dict[frozenset[str], frozenset[str]] = {}  # most persons share one

    def follow(self, changes: PersonChanges, merged: Iterable[int]) -> None:
        """Forget what has changed since the last call, when some persons were merged into others."""
        before, self.changes = self.changes, changes
        if before is None or before[1:] != changes[1:]:
            self._persons, self._ids = _Latest(), _Latest()
            self._merged.clear()
            return
        self._merged.update(merged)
        if len(self._merged) > _GENERATION:
            self._ids = _Latest()
            self._merged.clear()

    def ids(self, distinct_ids: Iterable[str]) -> dict[str, int]:
        """Return the persons of those distinct ids of which they are known. All of them have a profile."""
        find, merged = self._ids.find, self._merged
        found = {}
        for distinct_id in distinct_ids:
            person_id = find(distinct_id)
            if person_id is not None and person_id not in merged:
                found[distinct_id] = person_id
        return found

    def note_ids(self, ids: Mapping[str, int], without_profile: Collection[str]) -> None:
        """Note the persons that distinct ids have."""
        self._noted_ids |= {one: number for one, number in ids.items() if one not in without_profile}

    def unchanged(
        self, events: Sequence[SentEvent], ids: Mapping[str, int], without_profile: Collection[str]
    ) -> dict[str, int]:
        """Return those of ``ids`` whose persons no event changes.

        They are the persons of all distinct ids that the events mention. An event that may change a person takes all
        events of the person out of the answer, so that they are applied in order.
        """
        changed: set[int | None] = {None}
        found = ids.get
        for event in events:
            person_id = found(event.distinct_id)
            if event.alias is not None and found(event.alias) != person_id:
                changed |= {person_id, found(event.alias)}
            elif person_id in changed or not event.writes_profile:
                continue
            elif event.distinct_id in without_profile or (
                (event.may_change_person or event.alias is not None) and self._may_change(event, person_id)
            ):
                changed.add(person_id)
        return {distinct_id: person_id for distinct_id, person_id in ids.items() if person_id not in changed}

    def _may_change(self, event: SentEvent, person_id: int | None) -> bool:
        known = self._find(person_id)
        if known is None or event.campaign or (event.alias is not None and not known.is_identified):
            return True
        if event.person_bytes and (known.said is None or _said(event) != known.said):
            if not (isinstance(event.sent_set, UnsetType) and isinstance(event.sent_unset, UnsetType)):
                return True
            return not known.keys.issuperset(event.set_once)
        return not known.keys.issuperset(event.origin)

    def _find(self, person_id: int | None) -> _Known | None:
        return None if person_id is None else self._persons.find(person_id)

    def note(self, events: Sequence[SentEvent], persons: Mapping[str, PersonState]) -> None:
        """Note persons, by distinct id, as they are after some events."""
        said: dict[str, int | None] = {}
        for event in events:
            if event.campaign or not isinstance(event.sent_unset, UnsetType):
                said[event.distinct_id] = None
            elif event.person_bytes:
                said[event.distinct_id] = _said(event)
        has_merges = any(event.alias is not None for event in events)
        for distinct_id, person in persons.items():
            if person.id is None or not person.has_profile:
                continue
            noted = self._noted.get(person.id)
            is_comparable = not has_merges and (noted is None or distinct_id not in said)
            before = noted or self._find(person.id)
            latest = said.get(distinct_id, before.said if before else None) if is_comparable else None
            keys = frozenset(person.properties)
            self._noted[person.id] = _Known(self._key_sets.setdefault(keys, keys), latest, person.is_identified)
            self._noted_ids[distinct_id] = person.id

    def confirm(self) -> None:
        """Take what was noted for true."""
        self._persons.add(self._noted)
        self._ids.add(self._noted_ids)
        self.discard()
        if len(self._key_sets) > _GENERATION:
            self._key_sets = {}

    def discard(self) -> None:
        """Forget what was noted in a transaction that is rolled back."""
        self._noted, self._noted_ids = {}, {}


def _said(event: SentEvent) -> int:
    return hash((_bytes(event.sent_set), _bytes(event.sent_set_once)))


def _bytes(sent: Json) -> bytes | None:
    return None if isinstance(sent, UnsetType) else bytes(sent)
