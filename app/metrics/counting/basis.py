"""The basis of figures: what was read to compute them, so that unchanged figures are not computed again.

Code that reads something says so to the basis that is recorded around it, if any is. It is passed on implicitly (by a
context variable, which tasks and threads inherit), because between those who keep figures and those who read events lie
all services of experiments.
"""

import contextlib
from collections.abc import Iterator, Sequence, Set
from contextvars import ContextVar
from dataclasses import dataclass, field

from app.metrics.facts.series import SeriesDefinition


@dataclass
class Basis:
    """What figures were computed from.

    Attributes
    ----------
    series : dict of int to str
        The series that were counted: digests by id.
    names : set of str or None
        The names of their events; None for all events.
    watermark : int or None
        The sequence number up to which all events are in the figures; None before any were counted.
    due : int or None
        The earliest future moment, in microseconds, at which an event begins to count.
    is_whole : bool
        Whether there is nothing else: figures that rest on definitions of actions, cohorts or properties of persons may
        change without new events.
    """

    series: dict[int, str] = field(default_factory=dict)
    names: set[str] | None = field(default_factory=set)
    watermark: int | None = None
    due: int | None = None
    is_whole: bool = True

    def add_events(self, names: Set[str] | None) -> None:
        """Add events of some names, or all."""
        self.names = None if self.names is None or names is None else self.names | names

    def add_series(self, ids: Sequence[tuple[int, SeriesDefinition]], watermark: int, due: int | None) -> None:
        """Add series, complete up to a watermark."""
        for series_id, definition in ids:
            self.series[series_id] = definition.digest
            self.add_events(definition.names)
        self.watermark = watermark if self.watermark is None else min(self.watermark, watermark)
        if due is not None:
            self.due = due if self.due is None else min(self.due, due)


_RECORDED: ContextVar[Basis | None] = ContextVar("basis", default=None)


@contextlib.contextmanager
def recorded() -> Iterator[Basis]:
    """Record the basis of what is computed inside the block."""
    basis = Basis()
    token = _RECORDED.set(basis)
    try:
        yield basis
    finally:
        _RECORDED.reset(token)


def rest_on_series(ids: Sequence[tuple[int, SeriesDefinition]], watermark: int, due: int | None) -> None:
    """Say that the figures rest on the facts of series."""
    if (basis := _RECORDED.get()) is not None:
        basis.add_series(ids, watermark, due)


def rest_on_events(names: Set[str] | None) -> None:
    """Say that the figures rest on events of some names, or on all events."""
    if (basis := _RECORDED.get()) is not None:
        basis.add_events(names)


def rest_on_more() -> None:
    """Say that the figures rest on more than facts, merges and the experiment itself."""
    if (basis := _RECORDED.get()) is not None:
        basis.is_whole = False
