"""From events to facts: which events a series watches, and the numbers that stay of each. Pure."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from app.facts.series import SeriesDefinition
from app.properties.decoding import PropertyReader, UnreadablePropertiesError
from app.properties.matcher import compile_filter
from app.properties.text import number, text_form

logger = logging.getLogger("abacus")

# Variant texts longer than this are no variant's key; what is kept of them has to fit into an index.
MAX_VARIANT_CHARACTERS = 400
# SQLite stores not-a-number as null, and no property can hold an infinite number, so this one says "no number".
NO_NUMBER = float("-inf")

# (sequence, person id, time, properties) of an event; times in microseconds since 1970 UTC
EventRow = tuple[int, int, int, str]


@dataclass(frozen=True, slots=True)
class Match:
    """What stays of an event that a series watches. ``variant`` is empty where the event names none."""

    sequence: int
    person_id: int
    time: int
    variant: str
    value: float


class SeriesMatcher:
    """Picks the events of a series. Decodes only the properties that the definition mentions."""

    def __init__(self, definition: SeriesDefinition) -> None:
        self.event = definition.event
        self._variant_property = definition.variant_property
        self._value_property = definition.value_property
        self._matcher = compile_filter(definition.filter)
        mentioned = (definition.variant_property, definition.value_property)
        self._reader = PropertyReader(self._matcher.keys.union(key for key in mentioned if key is not None))

    def match(self, rows: Iterable[EventRow]) -> Iterator[Match]:
        for sequence, person_id, time, properties in rows:
            try:
                values = self._reader.read(properties)
            except UnreadablePropertiesError:  # capture lets none in; one put there by hand must not stop the others
                logger.warning("event %d was skipped: its properties cannot be read", sequence)
                continue
            if self._matcher.matches(values):
                yield Match(sequence, person_id, time, self._variant(values), self._number(values))

    def _variant(self, values: dict[str, bytes]) -> str:
        text = text_form(values.get(self._variant_property))
        return text[:MAX_VARIANT_CHARACTERS].replace("\0", "\N{REPLACEMENT CHARACTER}")

    def _number(self, values: dict[str, bytes]) -> float:
        if self._value_property is None:
            return NO_NUMBER
        value = number(values.get(self._value_property))
        return NO_NUMBER if value is None else value
