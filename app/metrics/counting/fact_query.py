"""Fact queries: which facts a metric reads, and how it counts them."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Generic, Literal, TypeVar

from app.metrics.aggregation.calendar import Window
from app.metrics.aggregation.counts import Counts
from app.metrics.facts.columns import WITHOUT_VALUES, Column, FactColumns
from app.metrics.facts.event_sets import EventSet
from app.metrics.facts.series import RULES

CountsT = TypeVar("CountsT", bound=Counts)

# Raise when ``to_bytes`` of any counts changes, or what they mean: replicas of two versions then store their counts
# separately.
COUNTS: Final = 8


@dataclass(frozen=True)
class FactQuery(Generic[CountsT]):
    """Which facts to read, and how to count them.

    Attributes
    ----------
    event_sets : sequence of EventSet
        Their facts are handed to ``count`` in this order.
    variants : sequence of str
        Facts number them by their position, from 1; 0 is no variant, ``len(variants) + 1`` any other text.
    count : callable
        Counts the facts inside the window; a function of its argument and ``parameters`` alone.
    decode_counts : callable or None
        Reads what ``to_bytes`` of the counts wrote, or returns None when that covers more time than the query. Without
        it counts are never stored: they are large, or change with the clock.
    additive_over : {"events", "actors"} or None
        Counts are sums over events, or over actors (all facts of one must be counted together), or not sums.
    columns : set of {"actor", "sequence"}
        What ``count`` reads besides times, variants and the values of value properties.
    parameters : sequence of str
        Everything else that ``count`` depends on.
    needed_since : int, optional
        The moment from which on no event may be missing, where that is not the start of the window.
    read_off : callable, optional
        Makes of counts what is compared, where that cannot be added to itself.
    joined : mapping of int to int
        The places of event sets whose actors are something else that events belong to, such as sessions or values of
        breakdowns, with the places of the sets that hold the same events under the actors that are counted.
    maturing : Maturing, optional
        Where actors count some time after their facts: how that moves with the clock.
    continuing : callable, optional
        Takes stored counts, and returns what counts facts so that they can be added to these; unset: ``count`` does.
    """

    event_sets: Sequence[EventSet]
    window: Window
    variants: Sequence[str]
    count: Callable[[Sequence[FactColumns]], CountsT]
    decode_counts: Callable[[bytes], CountsT | None] | None
    additive_over: Literal["events", "actors"] | None
    parameters: Sequence[str]
    columns: Set[Column] = WITHOUT_VALUES
    needed_since: int | None = None
    read_off: Callable[[CountsT], Any] | None = None
    joined: Mapping[int, int] = field(default_factory=dict)
    maturing: "Maturing | None" = None
    continuing: Callable[[CountsT], Callable[[Sequence[FactColumns]], CountsT]] | None = None

    @property
    def needs_events_since(self) -> int:
        """The earliest moment whose events are needed: without them the counts would be wrong."""
        beginning = self.window.since if self.needed_since is None else self.needed_since
        return beginning - max((event_set.padding for event_set in self.event_sets), default=0)

    @property
    def description(self) -> str:
        """What is counted, for the log."""
        names = {name for event_set in self.event_sets for part in event_set.parts for name in part.series.names or ()}
        shown = ", ".join(repr(name[:50]) for name in sorted(names)[:5]) or "all events"
        return f"{self.parameters[0] if self.parameters else 'facts'} of {shown}"

    @property
    def is_kept(self) -> bool:
        """Whether stored counts stay valid until there are new facts.

        Not where filters read properties of persons or groups, which change without new facts.
        """
        are_series = all(event_set.only_series is not None for event_set in self.event_sets)
        return are_series and self.decode_counts is not None

    @property
    def is_lasting(self) -> bool:
        """Whether counts stay what they are while nothing is new, however late it is."""
        return self.is_kept and self.maturing is None

    def as_of(self, moment: int) -> "FactQuery[CountsT]":
        """Return the query that counts as of a moment, in microseconds, where that makes a difference."""
        return self if self.maturing is None else self.maturing.as_of(moment)

    @property
    def is_incremental(self) -> bool:
        """Whether new facts can be added to stored counts; else all are counted again where there are new ones."""
        return self.additive_over is not None and self.is_kept and len(self.actor_properties) == 1

    @property
    def counts_persons(self) -> bool:
        """Whether actors are persons, whom merges change, and not groups or sessions alone."""
        return None in self.actor_properties

    @property
    def actor_properties(self) -> Set[str | None]:
        """The properties that name the actors who are counted; None for persons."""
        counted = [one for place, one in enumerate(self.event_sets) if place not in self.joined]
        return {part.series.actor_property for event_set in counted for part in event_set.parts}

    @cached_property
    def digest(self) -> str:
        """Equal for queries that count the same; the end of an open window, which moves with the clock, is left out."""
        document = [
            RULES,
            COUNTS,
            [event_set.digest for event_set in self.event_sets],
            self.window.since,
            None if self.window.is_open else self.window.until,
            self.variants,
            self.parameters,
        ]
        return hashlib.sha256(json.dumps(document, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True)
class Maturing:
    """How actors come to count without any new fact.

    Attributes
    ----------
    least, most : int
        How long after one of their facts that is, in microseconds.
    as_of : callable
        Returns the query that counts as of a moment.
    """

    least: int
    most: int
    as_of: Callable[[int], FactQuery[Any]]
