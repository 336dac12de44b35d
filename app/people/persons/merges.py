"""Who the persons of events are after merges. Pure."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class MergeLog:
    """Lines of a project's log of merges, each an int64: ``merged[i]`` became part of ``into[i]``."""

    sequence: NDArray[np.int64]
    merged: NDArray[np.int64]
    into: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.sequence)

    @property
    def last(self) -> int:
        """The place of the last line; 0 where there is none."""
        return int(self.sequence.max(initial=0))

    def up_to(self, mark: int) -> Self:
        """Return the log as it was when this was its last line."""
        rows = self.sequence <= mark
        return type(self)(self.sequence[rows], self.merged[rows], self.into[rows])

    def persons(self) -> NDArray[np.int64]:
        """Return everybody the lines are about, each once."""
        return np.union1d(self.merged, self.into)


@dataclass(frozen=True)
class MergedPersons:
    """Persons that were merged away (ascending), and who they are at the end of a log."""

    merged: NDArray[np.int64]
    current: NDArray[np.int64]

    @classmethod
    def of(cls, log: MergeLog) -> Self:
        """Follow the log: no person is merged away twice, so it is a forest, and its roots are the living persons."""
        order = np.argsort(log.merged)
        persons = cls(log.merged[order], log.into[order])
        while True:  # each round doubles how far it has been followed
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


NO_MERGES = MergeLog(*(np.empty(0, dtype=np.int64) for _ in range(3)))
