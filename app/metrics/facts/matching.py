"""From events to facts: which events belong to a series, and what a fact keeps of each."""

import functools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from app.metrics.facts.series import EventSource, SeriesDefinition
from app.properties.decoding import PropertyReader, UnreadablePropertiesError
from app.properties.matcher import Predicate, PropertyMatcher, compile_filter
from app.properties.text import number, text_form

logger = logging.getLogger("abacus")

# Longer texts are not keys of variants or actors; what is kept of them has to fit into an index.
MAX_KEY_CHARACTERS = 400
# Stands for a missing number: SQLite stores nan as null, and a property cannot hold an infinite number.
NO_NUMBER = float("-inf")

# (sequence, person id, time, name, properties) of an event; times in microseconds since 1970 UTC
EventRow = tuple[int, int, int, str, str]

_REMEMBERED_TEXTS = 4096
_NOTHING: Mapping[str, bytes] = {}


class Match(NamedTuple):
    """What a fact keeps of an event.

    ``variant`` is empty where the event names none. ``actor`` is None where actors are persons, else the text of the
    actor property, empty where the event has none.
    """

    sequence: int
    person_id: int
    time: int
    value: float
    variant: str
    actor: str | None


class SeriesMatcher:
    """Selects the events of a series. Decodes only the properties that the definition mentions."""

    def __init__(self, definition: SeriesDefinition) -> None:
        self.definition = definition
        self.digest = definition.digest
        self.names = None if definition.names is None else sorted(definition.names)
        self.actor_property = definition.actor_property
        self._variant_property = definition.variant_property
        self._value_property = definition.value_property
        self._actor_required = definition.actor_required
        self._conditions = _Conditions(definition.sources)
        mentioned = (definition.variant_property, definition.value_property, definition.actor_property)
        self._reader = PropertyReader(self._conditions.keys.union(key for key in mentioned if key is not None))
        self.keys = self._reader.keys
        # Those of which more matters than their number.
        self.compared_keys = self._conditions.keys | ({definition.variant_property} - {None})

    def match(self, rows: Iterable[EventRow]) -> Iterator[Match]:
        read, condition_of = self._reader.read, self._conditions.of
        only_key = self._reader.keys[0] if len(self._reader.keys) == 1 else ""
        reads_nothing = not self._reader.keys
        variant_property, actor_property = self._variant_property, self.actor_property
        # Variants are few, and about half of the events name one. They are known for these events only: a text of a
        # person who is erased later must not stay in the process.
        text_of = functools.lru_cache(maxsize=_REMEMBERED_TEXTS)(key_text)
        names = None if self.names is None else frozenset(self.names)
        for sequence, person_id, time, name, properties in rows:
            if names is not None and name not in names:
                continue
            # Keys may be written with escapes. Without a backslash, properties that lack the key need no decoding.
            if reads_nothing:
                values: Mapping[str, bytes] = _NOTHING
            elif only_key in properties or "\\" in properties:
                try:
                    values = read(properties)
                except (
                    UnreadablePropertiesError
                ):  # capture refuses these; one inserted by hand must not stop the others
                    logger.warning("skipping event %d: its properties cannot be decoded", sequence)
                    continue
            else:
                values = _NOTHING
            condition = condition_of(name)
            if condition is not None and not condition(values):
                continue
            actor = None if actor_property is None else text_of(values.get(actor_property))
            if not actor and self._actor_required:
                continue
            variant = "" if variant_property is None else text_of(values.get(variant_property))
            yield Match(sequence, person_id, time, self._number(values), variant, actor)

    def _number(self, values: Mapping[str, bytes]) -> float:
        if self._value_property is None:
            return NO_NUMBER
        value = number(values.get(self._value_property))
        return NO_NUMBER if value is None else value


class _Conditions:
    """The condition on events of each name: any of the sources of that name, or of the sources of all names."""

    def __init__(self, sources: Sequence[EventSource]) -> None:
        compiled = [(source.name, compile_filter(source.filter), bool(source.filter.children)) for source in sources]
        self.keys = frozenset[str]().union(*(matcher.keys for _, matcher, _ in compiled))

        def condition(name: str | None) -> Predicate | None:
            return _any_of([(matcher, limited) for source, matcher, limited in compiled if source in {name, None}])

        self._others = condition(None)
        self._named = {name: condition(name) for name, _, _ in compiled if name is not None}

    def of(self, name: str) -> Predicate | None:
        """Return the condition on events of a name; None when every event of the name belongs to the series."""
        return self._named.get(name, self._others)


def _any_of(alternatives: Sequence[tuple[PropertyMatcher, bool]]) -> Predicate | None:
    if any(not limited for _, limited in alternatives):
        return None
    predicates = [matcher.matches for matcher, _ in alternatives]
    if len(predicates) == 1:
        return predicates[0]
    return lambda values: any(matches(values) for matches in predicates)


def key_text(raw: bytes | None) -> str:
    """Return the text of a property that names a variant or an actor; empty where there is none."""
    if raw is None:
        return ""
    return text_form(raw)[:MAX_KEY_CHARACTERS].replace("\0", "\N{REPLACEMENT CHARACTER}")
