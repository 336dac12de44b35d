"""What is to be counted: the facts a metric looks at, and what it makes of them."""

import hashlib
import json
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Final, Generic, Literal, TypeVar

from app.metrics.aggregation.calendar import Window
from app.metrics.aggregation.counts import Counts
from app.metrics.facts.columns import WITHOUT_VALUES, Column, FactColumns
from app.metrics.facts.event_sets import EventSet
from app.metrics.facts.series import RULES

CountsT = TypeVar("CountsT", bound=Counts)

# To be raised when ``to_bytes`` of any counts changes: replicas of two versions then keep theirs apart.
COUNTS: Final = 3


@dataclass(frozen=True)
class FactQuery(Generic[CountsT]):
    """A question to the facts.

    Attributes
    ----------
    event_sets : sequence of EventSet
        Their facts are handed to ``count`` in this order.
    variants : sequence of str
        Facts number them by their place, from 1; 0 is none, ``len(variants) + 1`` any other text.
    count : callable
        Makes counts of the facts inside the window. Pure.
    decode_counts : callable
        Makes counts of what their ``to_bytes`` wrote; None where that is about more time than is asked for.
    additive_over : {"events", "actors"} or None
        Counts are sums over events, or over actors (so that all facts of one must be counted together), or no sums.
    columns : set of {"actor", "sequence"}
        What ``count`` looks at beside times, variants and the values of value properties.
    parameters : sequence of str
        Everything else that ``count`` depends on.
    needed_since : int, optional
        The moment from which on no event may be missing, where that is not the beginning of the window.
    """

    event_sets: Sequence[EventSet]
    window: Window
    variants: Sequence[str]
    count: Callable[[Sequence[FactColumns]], CountsT]
    decode_counts: Callable[[bytes], CountsT | None]
    additive_over: Literal["events", "actors"] | None
    parameters: Sequence[str]
    columns: Set[Column] = WITHOUT_VALUES
    needed_since: int | None = None

    @property
    def needs_events_since(self) -> int:
        """The earliest moment whose events must be there: without them the counts would be wrong."""
        beginning = self.window.since if self.needed_since is None else self.needed_since
        return beginning - max((event_set.padding for event_set in self.event_sets), default=0)

    @property
    def is_incremental(self) -> bool:
        """Whether stored counts stay true until there are new facts.

        Not where properties of persons or groups are asked for, which change without any, nor where others than
        persons act, whose numbers mean nothing in the log of merged persons.
        """
        return self.additive_over is not None and all(
            event_set.only_series is not None for event_set in self.event_sets
        )

    @property
    def digest(self) -> str:
        """Equal for metrics that count the same, while the clock of an open window moves on."""
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
