"""Flags whose release conditions depend on the values of other flags."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from graphlib import CycleError, TopologicalSorter
from typing import Protocol, TypeVar


class Dependent(Protocol):
    """A flag with the ids of the flags that its release conditions name."""

    @property
    def id(self) -> int: ...

    @property
    def flags(self) -> Collection[int]: ...


DependentT = TypeVar("DependentT", bound=Dependent)


def in_order(flags: Sequence[DependentT]) -> tuple[Sequence[DependentT], Sequence[DependentT]]:
    """Return flags so that each one follows those it depends on, and apart from them the flags of circles.

    With these are the flags that depend on them. No condition on the value of any of them holds.
    """
    if not any(flag.flags for flag in flags):
        return flags, ()
    by_id = {flag.id: flag for flag in flags}
    order = ordered_ids({flag.id: flag.flags for flag in flags})
    ordered = [by_id[flag_id] for flag_id in order if flag_id in by_id]
    placed = set(order)
    return ordered, [flag for flag in flags if flag.id not in placed]


def ordered_ids(references: Mapping[int, Collection[int]]) -> list[int]:
    """Return the ids that references name, each after those it refers to; those of circles are left out."""
    sorter = TopologicalSorter(references)
    with suppress(CycleError):  # ids outside the circle are still returned
        sorter.prepare()
    ordered: list[int] = []
    while ready := sorter.get_ready():
        ordered += ready
        sorter.done(*ready)
    return ordered


def with_dependencies(wanted: Sequence[DependentT], flags: Iterable[DependentT]) -> Sequence[DependentT]:
    """Return flags with all those that they depend on, directly or through others."""
    if not any(flag.flags for flag in wanted):
        return wanted
    by_id = {flag.id: flag for flag in flags}
    found = {flag.id: flag for flag in wanted}
    waiting = list(wanted)
    while waiting:
        for flag_id in waiting.pop().flags:
            flag = by_id.get(flag_id)
            if flag is not None and flag_id not in found:
                found[flag_id] = flag
                waiting.append(flag)
    return list(found.values())
