"""What a long import knows of the persons of its latest events, so that most events need not read their persons."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from msgspec import UnsetType

from app.people.persons.identity import IdentityEvent, PersonState
from app.people.persons.origin import Origin
from app.people.properties import Properties
from app.sdk.bounded_structs import Json

_GENERATION: Final = 100_000


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


class KnownPersons:
    """The property names of up to 200,000 persons, and what was said of each last.

    Which person a distinct id has is read for every batch, so persons may be merged, split and erased meanwhile. A
    property that is removed meanwhile is taken for one that the person still has: an import does not bring it back.
    What is noted in a transaction counts once it is committed: see ``confirm`` and ``discard``.
    """

    def __init__(self) -> None:
        self._recent: dict[int, _Known] = {}
        self._older: dict[int, _Known] = {}
        self._noted: dict[int, _Known] = {}
        self._key_sets: dict[frozenset[str], frozenset[str]] = {}  # most persons share one

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
        return None if person_id is None else self._recent.get(person_id) or self._older.get(person_id)

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

    def confirm(self) -> None:
        """Take what was noted for true."""
        self._recent |= self._noted
        self._noted = {}
        if len(self._recent) > _GENERATION:
            self._older, self._recent = self._recent, {}
            self._key_sets = {}

    def discard(self) -> None:
        """Forget what was noted in a transaction that is rolled back."""
        self._noted = {}


def _said(event: SentEvent) -> int:
    return hash((_bytes(event.sent_set), _bytes(event.sent_set_once)))


def _bytes(sent: Json) -> bytes | None:
    return None if isinstance(sent, UnsetType) else bytes(sent)
