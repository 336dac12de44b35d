"""Counts of a metric with what they cover, and what is new since."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.metrics.counting.fact_query import CountsT
from app.metrics.counting.repository import StoredCount
from app.metrics.facts.columns import FactColumns

logger = logging.getLogger("abacus")

# With more new facts or persons than this, recomputing is faster.
MAX_DELTA = 20_000


class FutureFact(msgspec.Struct, frozen=True, array_like=True):
    """A fact with a time in the future, from a client whose clock is ahead. It counts once that time has come."""

    place: int  # of its event set in the query
    sequence: int
    time: int


class _Body(msgspec.Struct, array_like=True):
    counts: bytes
    pending: list[FutureFact]
    numbered_by: list[int] = []


@dataclass(frozen=True)
class Counted(Generic[CountsT]):
    """Counts and what they cover; ``pending`` are the facts up to the watermark that happen after ``as_of``.

    ``numbered_by`` are the ids of the series whose numbers for the values of properties are in the counts: values that
    were forgotten have other numbers later, in series with other ids.
    """

    counts: CountsT
    watermark: int
    merge_mark: int
    as_of: int
    pending: Sequence[FutureFact] = ()
    numbered_by: Sequence[int] = ()

    @property
    def is_storable(self) -> bool:
        """Whether a stored count of it would be quickly read and added to."""
        return len(self.pending) < MAX_DELTA

    def to_stored(self) -> StoredCount:
        body = msgspec.msgpack.encode(_Body(self.counts.to_bytes(), list(self.pending), list(self.numbered_by)))
        return StoredCount(self.watermark, self.merge_mark, self.as_of, body)

    @classmethod
    def from_stored(cls, stored: StoredCount, decode: Callable[[bytes], CountsT | None]) -> "Counted[CountsT] | None":
        """Return the counts; None when they are unreadable, or cover more time than the query."""
        try:
            body = msgspec.msgpack.decode(stored.body, type=_Body)
            counts = decode(body.counts)
        except (msgspec.DecodeError, ValueError, TypeError):  # written by other code, or damaged
            logger.warning("discarding unreadable stored count; recomputing")
            return None
        if counts is None:
            return None
        return Counted(counts, stored.watermark, stored.merge_mark, stored.until, body.pending, body.numbered_by)


@dataclass(frozen=True)
class Delta(Generic[CountsT]):
    """What is new since a count, of one metric.

    Attributes
    ----------
    visible : sequence of FactColumns
        The facts of each event set that begin to count.
    pending : sequence of FutureFact
        Those that do not count yet.
    touched : int64[n]
        The actors whose contribution may be another one now; empty where counts are sums over events.
    merge_mark, watermark : int
        The last merge and the last event that are covered when this is added.
    """

    known: Counted[CountsT]
    visible: Sequence[FactColumns]
    pending: Sequence[FutureFact]
    touched: NDArray[np.int64]
    merge_mark: int
    watermark: int
