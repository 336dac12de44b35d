"""Funnels, event by event: rows are (actor, minute, step, variant)."""

import datetime as dt
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.common.timestamps import to_microseconds
from app.metrics.aggregation.funnel import ConversionWindow, FunnelCounts, count_funnel
from app.metrics.aggregation.ordered_funnel import FunnelExclusion, FunnelStep, ordered_attempts
from app.metrics.facts.columns import FactColumns

Row = tuple[int, float, int, int]  # actor, minute, source (steps, then exclusions), variant
CONTROL, TEST, OTHER = 1, 2, 3
MINUTE = 60_000_000
HOUR = ConversionWindow(1, "hour")


def facts(rows: Sequence[Row], source: int) -> FactColumns:
    chosen = [(index, row) for index, row in enumerate(rows) if row[2] == source]
    return FactColumns(
        np.array([row[0] for _, row in chosen], dtype=np.int64),
        np.array([int(row[1] * MINUTE) for _, row in chosen], dtype=np.int64),
        np.array([row[3] for _, row in chosen], dtype=np.int32),
        np.full(len(chosen), np.nan),
        np.array([index for index, _ in chosen], dtype=np.int64),
    )


def counted(
    rows: Sequence[Row],
    steps: int = 2,
    repeats: Sequence[int] = (),
    exclusions: Sequence[tuple[int, int]] = (),
    window: ConversionWindow = HOUR,
) -> FunnelCounts:
    attempts = ordered_attempts(
        [FunnelStep(facts(rows, step), step in repeats) for step in range(steps)],
        [FunnelExclusion(facts(rows, steps + index), *bounds) for index, bounds in enumerate(exclusions)],
        window,
    )
    return count_funnel(attempts, 2)


def reached(
    rows: Sequence[Row],
    steps: int = 2,
    repeats: Sequence[int] = (),
    exclusions: Sequence[tuple[int, int]] = (),
    window: ConversionWindow = HOUR,
) -> list[list[int]]:
    """Return how many actors of control and of test reached each step."""
    found: list[list[int]] = counted(rows, steps, repeats, exclusions, window).of_variants.tolist()
    return found


@pytest.mark.parametrize(
    ("told", "rows", "expected"),
    [
        ("a step after the first converts", [(1, 0, 0, CONTROL), (1, 5, 1, 0)], [[1, 1], [0, 0]]),
        ("a step before the first does not", [(1, 5, 0, CONTROL), (1, 0, 1, 0)], [[1, 0], [0, 0]]),
        ("without the first step no actor enters", [(1, 5, 1, CONTROL)], [[0, 0], [0, 0]]),
        ("steps at the same moment convert", [(1, 0, 1, CONTROL), (1, 0, 0, 0)], [[1, 1], [0, 0]]),
        ("the window includes its end", [(1, 0, 0, TEST), (1, 60, 1, 0)], [[0, 0], [1, 1]]),
        ("and nothing after it", [(1, 0, 0, TEST), (1, 60.01, 1, 0)], [[0, 0], [1, 0]]),
        ("a later attempt may succeed", [(1, 0, 0, TEST), (1, 100, 0, 0), (1, 120, 1, 0)], [[0, 0], [1, 1]]),
        ("a later attempt takes nothing away", [(1, 0, 0, TEST), (1, 1, 1, 0), (1, 99, 0, 0)], [[0, 0], [1, 1]]),
        ("each actor counts once", [(1, 0, 0, TEST), (1, 1, 0, TEST), (1, 2, 1, 0)], [[0, 0], [1, 1]]),
        ("any step may name the variant", [(1, 0, 0, 0), (1, 1, 1, TEST)], [[0, 0], [1, 1]]),
        ("even one before the start", [(1, 5, 0, 0), (1, 0, 1, TEST)], [[0, 0], [1, 0]]),
        ("the variant named first counts", [(1, 0, 0, TEST), (1, 1, 1, CONTROL)], [[0, 0], [1, 1]]),
        ("of two at one moment the one that arrived first", [(1, 0, 1, TEST), (1, 0, 0, CONTROL)], [[0, 0], [1, 1]]),
        ("an unknown variant captures its actor", [(1, 0, 0, OTHER), (1, 1, 1, TEST)], [[0, 0], [0, 0]]),
        ("an actor without a variant is left out", [(1, 0, 0, 0), (1, 1, 1, 0)], [[0, 0], [0, 0]]),
        ("actors do not mix", [(1, 0, 0, CONTROL), (2, 1, 1, TEST)], [[1, 0], [0, 0]]),
        ("nothing at all counts nothing", [], [[0, 0], [0, 0]]),
    ],
)
def test_funnel_of_two_steps_counts_actors(told: str, rows: list[Row], expected: list[list[int]]) -> None:
    assert reached(rows) == expected, told


def test_repeated_step_needs_strictly_later_event() -> None:
    once = [(1, 0, 0, TEST), (1, 0, 1, TEST)]  # one event, taken for both steps
    twice = [*once, (1, 5, 0, 0), (1, 5, 1, 0)]

    assert reached(once, repeats=[1])[1] == [1, 0]
    assert reached(twice, repeats=[1])[1] == [1, 1]


def test_steps_must_come_in_order() -> None:
    assert reached([(1, 0, 0, TEST), (1, 5, 2, 0), (1, 9, 1, 0)], steps=3)[1] == [1, 1, 0]
    assert reached([(1, 0, 0, TEST), (1, 5, 2, 0), (1, 9, 1, 0), (1, 12, 2, 0)], steps=3)[1] == [1, 1, 1]


def test_window_is_measured_from_start() -> None:
    rows = [(1, 0, 0, TEST), (1, 40, 1, 0), (1, 80, 2, 0)]

    assert reached(rows, steps=3)[1] == [1, 1, 0]


def test_window_of_month_ends_on_last_day_of_shorter_month() -> None:
    start = to_microseconds(dt.datetime(2022, 1, 31, 12, tzinfo=dt.UTC))
    end = ConversionWindow(1, "month").ends(np.array([start], dtype=np.int64))

    assert end.tolist() == [to_microseconds(dt.datetime(2022, 2, 28, 12, tzinfo=dt.UTC))]


@pytest.mark.parametrize(
    ("told", "rows", "expected"),
    [
        ("an exclusion between the steps drops the attempt", [(1, 0, 0, TEST), (1, 2, 2, 0), (1, 5, 1, 0)], [0, 0]),
        ("one after the last step does not", [(1, 0, 0, TEST), (1, 5, 1, 0), (1, 6, 2, 0)], [1, 1]),
        ("nor one at the moment of a step", [(1, 0, 0, TEST), (1, 0, 2, 0), (1, 5, 1, 0)], [1, 1]),
        ("without the last step it counts to the window's end", [(1, 0, 0, TEST), (1, 59, 2, 0)], [0, 0]),
        ("and not beyond", [(1, 0, 0, TEST), (1, 61, 2, 0)], [1, 0]),
        ("another attempt is left", [(1, 0, 0, TEST), (1, 2, 2, 0), (1, 3, 0, 0), (1, 5, 1, 0)], [1, 1]),
    ],
)
def test_exclusion_disqualifies_attempts(told: str, rows: list[Row], expected: list[int]) -> None:
    assert reached(rows, exclusions=[(0, 1)])[1] == expected, told


def test_steps_found_out_of_order_have_no_conversion_time() -> None:
    events = ((1, 0), (3, 1), (5, 0))  # in the funnel B, C, B, C: B at 1, C at 3, B at 5 minutes
    rows: list[Row] = [(1, minute, step, TEST) for minute, kind in events for step in (kind, kind + 2)]

    times = counted(rows, steps=4).median_conversion_time

    assert not (times < 0).any()


def test_conversion_time_is_that_of_actors_who_converted() -> None:
    """The first actor makes the third step too late to convert, the second one in time."""
    late: list[Row] = [(1, 0, 0, TEST), (1, 50, 1, 0), (1, 90, 2, 0)]
    window = ConversionWindow(60, "minute")

    alone, both = (
        counted(late, steps=3, window=window),
        counted([*late, (2, 0, 0, TEST), (2, 10, 1, 0), (2, 20, 2, 0)], steps=3, window=window),
    )

    assert alone.of_variants[1].tolist() == [1, 1, 0]
    assert alone.average_conversion_time[1].tolist() == pytest.approx([np.nan, 3000, np.nan], nan_ok=True)
    assert both.median_conversion_time[1].tolist() == pytest.approx([np.nan, 1800, 600], nan_ok=True)


def test_conversion_times_are_whole_seconds_of_best_attempts() -> None:
    rows: list[Row] = [(1, 0, 0, TEST), (1, 10, 0, 0), (1, 20, 1, 0), (2, 0, 0, TEST), (2, 2.51, 1, 0), (3, 0, 0, TEST)]
    counts = counted(rows)

    # The first actor has attempts of 20 and of 10 minutes, the second one of 150.6 seconds, floored.
    assert counts.average_conversion_time[1].tolist() == pytest.approx([np.nan, (900 + 150) / 2], nan_ok=True)
    assert counts.median_conversion_time[1].tolist() == pytest.approx([np.nan, (900 + 150) / 2], nan_ok=True)
    assert np.isnan(counts.average_conversion_time[0]).all()


def test_actors_outside_variants_are_counted_apart() -> None:
    rows: list[Row] = [(1, 0, 0, 0), (2, 0, 0, OTHER), (3, 0, 0, OTHER), (4, 0, 0, TEST), (5, 0, 1, OTHER)]
    counts = counted(rows)

    assert (counts.without_variant, counts.other_variant) == (1, 2)


rows_of_few = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 12), st.integers(0, 2), st.integers(0, 3)), max_size=14
)


@given(rows=rows_of_few, window=st.integers(1, 12), order=st.randoms(use_true_random=False))
def test_funnel_equals_search_of_every_chain(rows: list[Row], window: int, order: object) -> None:
    counts = counted(rows, steps=3, window=ConversionWindow(window, "minute"))

    assert counts.of_variants.tolist() == by_search(rows, 3, window)
    assert (np.isnan(counts.average_conversion_time) == (counts.of_variants == 0))[:, 1:].all()


def by_search(rows: Sequence[Row], steps: int, window: int) -> list[list[int]]:
    """Count by looking at every combination of events that could be an attempt."""
    counts = [[0] * steps for _ in (CONTROL, TEST)]
    for actor in {row[0] for row in rows}:
        own = [row for row in rows if row[0] == actor]
        named = sorted((row for row in own if row[3]), key=lambda row: row[1])
        best = max(
            (
                size
                for size in range(1, steps + 1)
                for chain in combinations(sorted(own, key=lambda row: (row[1], row[2])), size)
                if [row[2] for row in chain] == list(range(size)) and chain[-1][1] - chain[0][1] <= window
            ),
            default=0,
        )
        if named and named[0][3] in (CONTROL, TEST):
            for step in range(best):
                counts[named[0][3] - 1][step] += 1
    return counts
