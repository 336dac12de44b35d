"""The current persons of stored events, after merges."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class MergeLog:
    """Entries of a project's log of merges, each an int64: ``merged[i]`` became part of ``into[i]``."""

    sequence: NDArray[np.int64]
    merged: NDArray[np.int64]
    into: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.sequence)

    @property
    def last(self) -> int:
        """The sequence number of the last entry; 0 where there is none."""
        return int(self.sequence.max(initial=0))

    def up_to(self, mark: int) -> Self:
        """Return the log as it was when ``mark`` was its last sequence number."""
        rows = self.sequence <= mark
        return type(self)(self.sequence[rows], self.merged[rows], self.into[rows])

    def after(self, mark: int) -> Self:
        """Return the entries after ``mark``."""
        rows = self.sequence > mark
        return type(self)(self.sequence[rows], self.merged[rows], self.into[rows])

    def persons(self) -> NDArray[np.int64]:
        """Return every person that an entry is about, without duplicates."""
        return np.union1d(self.merged, self.into)


@dataclass(frozen=True)
class MergedPersons:
    """Persons that were merged into others (ascending), and the persons they are part of at the end of a log."""

    merged: NDArray[np.int64]
    current: NDArray[np.int64]

    @classmethod
    def of(cls, log: MergeLog) -> Self:
        """Follow the log, a forest because a person is merged only once, to its roots, the current persons."""
        order = np.argsort(log.merged)
        persons = cls(log.merged[order], log.into[order])
        while True:  # each round doubles the length of the paths that are resolved
            further = persons.resolve(persons.current)
            if np.array_equal(further, persons.current):
                return persons
            persons = cls(persons.merged, further)

    def resolve(self, persons: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the person that each person id stands for."""
        if not self.merged.size:
            return persons
        position = np.minimum(np.searchsorted(self.merged, persons), self.merged.size - 1)
        return np.where(self.merged[position] == persons, self.current[position], persons)

    def joining(self, first: int, end: int) -> NDArray[np.int64]:
        """Return the persons outside a range, from ``first`` to before ``end``, who are part of one inside."""
        are_inside = (self.current >= first) & (self.current < end)
        were_inside = (self.merged >= first) & (self.merged < end)
        return self.merged[are_inside & ~were_inside]


NO_MERGES = MergeLog(*(np.empty(0, dtype=np.int64) for _ in range(3)))
