"""Attribution: which variant an actor of a funnel belongs to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np

from app.metrics.facts.columns import NO_VARIANT, FactColumns, concatenate

AttributionType: TypeAlias = Literal["first_touch", "last_touch", "all_events", "step"]

ATTRIBUTION_TYPES: tuple[AttributionType, ...] = get_args(AttributionType)


@dataclass(frozen=True)
class Attribution:
    """An attribution type; ``step``, from 0, applies to the type of that name only."""

    type: AttributionType = "first_touch"
    step: int = 0


FIRST_TOUCH = Attribution()


def attribute(parts: Sequence[FactColumns], attribution: Attribution) -> list[FactColumns]:
    """Rewrite facts so that first-touch attribution of the result equals the attribution.

    Parameters
    ----------
    parts : sequence of FactColumns
        The facts of the steps in their order, then those of exclusions.

    Notes
    -----
    ``last_touch``: every fact gets the variant that its actor named last. ``all_events``: an actor is split into one
    actor per variant that it named, including no variant, each with the facts of that variant. ``step``: an actor is
    split into one per variant on its facts of the step, each with all of the facts; actors without such facts are left
    out.
    """
    if attribution.type == "first_touch":
        return list(parts)
    if attribution.type == "last_touch":
        return _last_touch(parts)
    if attribution.type == "all_events":
        return _numbered(parts)
    return _by_step(parts, parts[attribution.step])


def _last_touch(parts: Sequence[FactColumns]) -> list[FactColumns]:
    facts = concatenate(parts)
    named = facts.select(facts.variant != NO_VARIANT)
    order = np.lexsort((named.sequence, named.time, named.actor))[::-1]
    actors, last = np.unique(named.actor[order], return_index=True)
    variants = named.variant[order][last]
    found = []
    for part in parts:
        variant = np.full(len(part), NO_VARIANT, dtype=np.int32)
        if len(actors):
            position = np.minimum(np.searchsorted(actors, part.actor), len(actors) - 1)
            variant = np.where(actors[position] == part.actor, variants[position], variant).astype(np.int32)
        found.append(FactColumns(part.actor, part.time, variant, part.value, part.sequence))
    return found


def _by_step(parts: Sequence[FactColumns], step: FactColumns) -> list[FactColumns]:
    pairs = np.unique(np.stack((step.actor, step.variant.astype(np.int64))), axis=1)
    copied = []
    for part in parts:
        first = np.searchsorted(pairs[0], part.actor, side="left")
        count = np.searchsorted(pairs[0], part.actor, side="right") - first
        rows = np.repeat(np.arange(len(part)), count)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
        variant = pairs[1][first[rows] + within].astype(np.int32)
        one = part.select(rows)
        copied.append(FactColumns(one.actor, one.time, variant, one.value, one.sequence))
    return _numbered(copied)


def _numbered(parts: Sequence[FactColumns]) -> list[FactColumns]:
    """Give each pair of an actor and a variant its own actor number."""
    facts = concatenate(parts)
    pairs = np.stack((facts.actor, facts.variant.astype(np.int64)))
    _, number = np.unique(pairs, axis=1, return_inverse=True)
    ends = np.cumsum([len(part) for part in parts])
    numbers = np.split(number.reshape(-1).astype(np.int64), ends[:-1])
    return [
        FactColumns(actor, part.time, part.variant, part.value, part.sequence)
        for actor, part in zip(numbers, parts, strict=True)
    ]
