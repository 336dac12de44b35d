"""What all counts have in common: named arrays that are added, subtracted, extended in time and stored."""

import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal, Self

import msgspec
import numpy as np
from numpy.typing import NDArray


class _StoredArray(msgspec.Struct, array_like=True):
    dtype: str
    shape: list[int]
    body: bytes


@dataclass(frozen=True)
class Counts:
    """Base of counts, whose fields are arrays and whole numbers.

    Counts of different facts can be added where the fields are sums over events or over actors; see
    ``FactQuery.additive_over``. Arrays of whole numbers stay exact, also as floats up to 2 ** 53.
    """

    def __add__(self, other: Self) -> Self:
        return self._combined(other, operator.add)

    def __sub__(self, other: Self) -> Self:
        return self._combined(other, operator.sub)

    @classmethod
    def total(cls, parts: Sequence[Self]) -> Self:
        """Return the sum of at least one."""
        return functools.reduce(operator.add, parts)

    @property
    def is_complete(self) -> bool:
        """Whether a sum still tells all that is asked; else all facts have to be counted."""
        return True

    def _combined(self, other: Self, combine: Callable[[Any, Any], Any]) -> Self:
        return type(self)(*map(combine, self._values(), other._values()))

    def _values(self) -> Iterator[Any]:
        return (getattr(self, field.name) for field in fields(self))

    def to_bytes(self) -> bytes:
        """Return the fields in their order; ``COUNTS`` is raised when this form changes."""
        arrays = map(np.asarray, self._values())
        return msgspec.msgpack.encode([_StoredArray(one.dtype.str, list(one.shape), one.tobytes()) for one in arrays])

    @classmethod
    def from_bytes(cls, body: bytes) -> Self:
        """Return the counts that ``to_bytes`` wrote.

        Raises
        ------
        ValueError, TypeError
            When the bytes were not written by ``to_bytes`` of this class.
        """
        return cls(*map(_restored, msgspec.msgpack.decode(body, type=list[_StoredArray])))


def _restored(stored: _StoredArray) -> NDArray[Any] | int | float:
    array = np.frombuffer(stored.body, stored.dtype).reshape(stored.shape)
    return array if array.ndim else array.item()


@dataclass(frozen=True)
class BucketedCounts(Counts):
    """Counts with arrays whose last axis are buckets of time: the fields that ``bucketed`` names, or the first one."""

    bucketed: ClassVar[Sequence[str]] = ()

    # What later buckets hold until there are facts in them: nothing, or the last value where buckets are cumulative.
    padding: ClassVar[Literal["constant", "edge"]] = "constant"

    def widened(self, buckets: int) -> Self | None:
        """Return the counts with buckets appended for the time since; None when there would be fewer buckets."""
        arrays = {name: getattr(self, name) for name in self.bucketed or [fields(self)[0].name]}
        missing = min(buckets - array.shape[-1] for array in arrays.values())
        if missing < 0:
            return None
        padded = {
            name: np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, missing)], self.padding)
            for name, array in arrays.items()
        }
        return replace(self, **padded)
