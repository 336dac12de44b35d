"""The filter of a list of events: on the events themselves, on their persons, and on cohorts."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from app.common.errors import ValidationFailed
from app.people.directory.filters import as_criteria
from app.properties.decoding import PropertyReader, UnreadablePropertiesError
from app.properties.filters import Group, InvalidFilter
from app.properties.matcher import PropertyMatcher, compile_filter
from app.properties.requested import parse_requested
from app.properties.splitting import EVENT_TYPES, alternatives
from app.properties.subjects import atoms, subject
from app.properties.validation import compile_patterns


@dataclass(frozen=True)
class EventFilter:
    """Alternatives of which an event has to pass one.

    Attributes
    ----------
    criteria : mapping of int to Group
        What alternatives ask of the event's person, by the number of the alternative: as of cohorts, which have no
        negative numbers. Others ask nothing.
    """

    matchers: Mapping[int, PropertyMatcher]
    criteria: Mapping[int, Group]
    reader: PropertyReader

    def passes(self, properties: str, inside: Collection[int]) -> bool:
        """Whether an event passes, whose person meets the criteria with some numbers."""
        try:
            tokens = self.reader.read(properties)
        except UnreadablePropertiesError:
            return False
        return any(
            (number not in self.criteria or number in inside) and matcher.matches(tokens)
            for number, matcher in self.matchers.items()
        )


async def read_event_filter(text: str | None) -> EventFilter | None:
    """Read a filter from the query string; None without a condition.

    Raises
    ------
    ValidationFailed
    """
    try:
        tree = parse_requested(text)
        await compile_patterns([tree])
        return _compile(tree) if tree.children else None
    except InvalidFilter as error:
        raise ValidationFailed(error.detail, code=error.code, attr="properties") from error


def _compile(tree: Group) -> EventFilter:
    matchers: dict[int, PropertyMatcher] = {}
    criteria: dict[int, Group] = {}
    for place, one in enumerate(alternatives(tree), start=1):
        for atom in atoms(one.later):
            about = subject(atom)
            if about is None or about.kind != "person":
                kinds = ", ".join(sorted(atom.types - EVENT_TYPES))
                raise InvalidFilter(
                    f"Events are listed by properties of events and persons and by cohorts, not by {kinds}"
                )
        later = as_criteria(one.later)
        matchers[-place] = compile_filter(one.event)
        if later is not None:
            criteria[-place] = later
    keys = frozenset[str]().union(*(matcher.keys for matcher in matchers.values()))
    return EventFilter(matchers, criteria, PropertyReader(keys))
