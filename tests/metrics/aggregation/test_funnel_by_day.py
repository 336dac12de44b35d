"""Funnels over time, compared with a recount at the end of every bucket."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.metrics.aggregation.calendar import Ticks
from app.metrics.aggregation.funnel import Attempts, ConversionWindow, count_funnel
from app.metrics.aggregation.funnel_by_day import FunnelProgress, count_progress
from app.metrics.aggregation.ordered_funnel import FunnelExclusion, FunnelStep, ordered_attempts
from app.metrics.aggregation.strict_funnel import strict_attempts
from app.metrics.aggregation.unordered_funnel import unordered_attempts
from app.metrics.facts.columns import FactColumns, concatenate

Row = tuple[int, int, int, int]  # actor, minute, source (steps, then an exclusion), variant

MINUTE = 60_000_000
STEPS, VARIANTS = 3, 2
WINDOW = ConversionWindow(6, "minute")
BUCKETS = Ticks(np.array([0, 4, 8]) * MINUTE, np.zeros(3, np.int64), "hour")

ROWS = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 11), st.integers(0, 3), st.integers(0, 3)), max_size=14)


def columns(rows: Sequence[Row]) -> list[FactColumns]:
    """Return the facts of the steps and of the exclusion."""
    return [
        FactColumns(
            np.array([row[0] for _, row in chosen], dtype=np.int64),
            np.array([row[1] * MINUTE for _, row in chosen], dtype=np.int64),
            np.array([row[3] for _, row in chosen], dtype=np.int32),
            np.full(len(chosen), np.nan),
            np.array([index for index, _ in chosen], dtype=np.int64),
        )
        for source in range(STEPS + 1)
        for chosen in [[(index, row) for index, row in enumerate(rows) if row[2] == source]]
    ]


def attempts(kind: str, rows: Sequence[Row]) -> Attempts:
    parts = columns(rows)
    steps, others = parts[:STEPS], parts[STEPS:]
    if kind == "strict":
        return strict_attempts(steps, concatenate(parts), WINDOW)
    if kind == "unordered":
        return unordered_attempts(steps, others, WINDOW)
    exclusions = [FunnelExclusion(others[0], 0, STEPS - 1)] if kind == "excluding" else []
    return ordered_attempts([FunnelStep(step) for step in steps], exclusions, WINDOW)


def progress(kind: str, rows: Sequence[Row]) -> FunnelProgress:
    return count_progress(attempts(kind, rows), BUCKETS, VARIANTS)


def by_step(kind: str, rows: Sequence[Row]) -> NDArray[np.int64]:
    return count_funnel(attempts(kind, rows), VARIANTS).of_variants.T


@pytest.mark.parametrize("kind", ["ordered", "excluding", "strict", "unordered"])
@given(rows=ROWS)
def test_last_bucket_ends_with_counts_of_funnel(kind: str, rows: list[Row]) -> None:
    assert progress(kind, rows).cumulative[:, :, -1].tolist() == by_step(kind, rows).tolist()


@pytest.mark.parametrize("kind", ["ordered", "strict"])
@given(rows=ROWS)
def test_each_bucket_ends_with_counts_of_events_so_far(kind: str, rows: list[Row]) -> None:
    found = progress(kind, rows).cumulative

    for bucket in range(len(BUCKETS)):
        until = [row for row in rows if row[1] < 4 * (bucket + 1)]
        assert found[:, :, bucket].tolist() == by_step(kind, until).tolist()


@pytest.mark.parametrize("kind", ["excluding", "strict", "unordered"])
@given(some=ROWS, others=ROWS)
def test_counts_of_different_actors_add_up(kind: str, some: list[Row], others: list[Row]) -> None:
    others = [(actor + 10, *rest) for actor, *rest in others]  # type: ignore[misc]  # three numbers are left

    added = progress(kind, some) + progress(kind, others)

    assert added.reached.tolist() == progress(kind, some + others).reached.tolist()
