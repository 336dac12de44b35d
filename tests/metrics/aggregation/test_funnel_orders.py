"""Strict and unordered funnels, and attributions, compared with walks through each actor's events."""

import statistics
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.metrics.aggregation.attribution import ATTRIBUTION_TYPES, Attribution, AttributionType, attribute
from app.metrics.aggregation.funnel import ConversionWindow, FunnelCounts, count_funnel
from app.metrics.aggregation.ordered_funnel import FunnelStep, ordered_attempts
from app.metrics.aggregation.strict_funnel import strict_attempts
from app.metrics.aggregation.unordered_funnel import unordered_attempts
from app.metrics.facts.columns import FactColumns

Row = tuple[int, int, int, int]  # actor, minute, source (steps, then others), variant
MINUTE = 60_000_000
WINDOW = ConversionWindow(10, "minute")
STEPS = 3
rows_of_few = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 25), st.integers(0, STEPS), st.sampled_from([0, 0, 1, 2, 3])),
    max_size=14,
)


def facts(rows: Sequence[Row], *sources: int) -> FactColumns:
    chosen = [(index, row) for index, row in enumerate(rows) if row[2] in sources]
    return FactColumns(
        np.array([row[0] for _, row in chosen], dtype=np.int64),
        np.array([row[1] * MINUTE for _, row in chosen], dtype=np.int64),
        np.array([row[3] for _, row in chosen], dtype=np.int32),
        np.full(len(chosen), np.nan),
        np.array([index for index, _ in chosen], dtype=np.int64),
    )


def in_order(rows: Sequence[Row]) -> list[Row]:
    return [row for _, row in sorted(enumerate(rows), key=lambda one: (one[1][1], one[0]))]


def recount(
    rows: Sequence[Row], attempts_of: "dict[int, list[list[int]]]"
) -> tuple[list[list[int]], list[list[float | None]]]:
    """Return actors that reached each step and the mean seconds to it, per variant, from the times of all attempts."""
    reached = [[0] * STEPS, [0] * STEPS]
    seconds: list[list[list[float]]] = [[[] for _ in range(STEPS)] for _ in range(2)]
    for actor, attempts in attempts_of.items():
        named = [variant for who, _, _, variant in in_order(rows) if who == actor and variant]
        if not attempts or not named or named[0] not in {1, 2}:
            continue
        best = max(map(len, attempts))
        for step in range(best):
            reached[named[0] - 1][step] += 1
        for step in range(1, best):
            gaps = [(one[step] - one[step - 1]) * 60.0 for one in attempts if len(one) == best]
            seconds[named[0] - 1][step].append(statistics.fmean(gaps))
    return reached, [[round(statistics.fmean(step), 6) if step else None for step in row] for row in seconds]


def shown(counts: FunnelCounts) -> tuple[list[list[int]], list[list[float | None]]]:
    averages = [
        [None if np.isnan(value) else round(float(value), 6) for value in row] for row in counts.average_conversion_time
    ]
    return counts.of_variants.tolist(), averages


@given(rows_of_few)
def test_strict_funnel_takes_next_events(rows: list[Row]) -> None:
    attempts: dict[int, list[list[int]]] = {}
    for actor in {row[0] for row in rows}:
        events = [row for row in in_order(rows) if row[0] == actor]
        for place, start in enumerate(events):
            if start[2] != 0:
                continue
            times = [start[1]]
            for step, following in enumerate(events[place + 1 : place + STEPS], start=1):
                if following[2] != step or following[1] > start[1] + WINDOW.interval:
                    break
                times.append(following[1])
            attempts.setdefault(actor, []).append(times)

    steps, everything = [facts(rows, step) for step in range(STEPS)], facts(rows, *range(STEPS + 1))
    counts = count_funnel(strict_attempts(steps, everything, WINDOW), 2)

    assert shown(counts) == recount(rows, attempts)


@given(rows_of_few)
def test_unordered_funnel_takes_any_step_first(rows: list[Row]) -> None:
    """Source 3 is an exclusion."""
    attempts: dict[int, list[list[int]]] = {}
    for actor, minute, source, _ in rows:
        if source == STEPS:
            continue
        later = [
            [row[1] for row in rows if row[0] == actor and row[2] == step and minute < row[1]]
            for step in range(STEPS)
            if step != source
        ]
        found = sorted(min(times) for times in later if times and min(times) <= minute + WINDOW.interval)
        until = found[-1] if len(found) == STEPS - 1 else minute + WINDOW.interval
        if not any(row[0] == actor and row[2] == STEPS and minute < row[1] < until for row in rows):
            attempts.setdefault(actor, []).append([minute, *found])

    steps = [facts(rows, step) for step in range(STEPS)]
    counts = count_funnel(unordered_attempts(steps, [facts(rows, STEPS)], WINDOW), 2)

    assert shown(counts) == recount(rows, attempts)


@given(rows_of_few, st.sampled_from(ATTRIBUTION_TYPES), st.integers(0, STEPS - 1))
def test_attribution_decides_variants_of_actor(rows: list[Row], kind: AttributionType, step: int) -> None:
    rows = [row for row in rows if row[2] < STEPS]
    expected = [[0] * STEPS, [0] * STEPS]
    for actor in {row[0] for row in rows}:
        events = [row for row in in_order(rows) if row[0] == actor]
        for variant, counted in copies(events, kind, step):
            reached = walk(counted)
            if variant in {1, 2}:
                for place in range(reached):
                    expected[variant - 1][place] += 1

    parts = attribute([facts(rows, source) for source in range(STEPS)], Attribution(kind, step))
    counts = count_funnel(ordered_attempts([FunnelStep(part) for part in parts], [], WINDOW), 2)

    assert counts.of_variants.tolist() == expected


def copies(events: list[Row], kind: AttributionType, step: int) -> list[tuple[int, list[Row]]]:
    named = [row[3] for row in events if row[3]]
    if kind == "all_events":
        return [(variant, [row for row in events if row[3] == variant]) for variant in {row[3] for row in events}]
    if kind == "step":
        return [(variant, events) for variant in {row[3] for row in events if row[2] == step}]
    return [((named[0] if kind == "first_touch" else named[-1]) if named else 0, events)]


def walk(events: list[Row]) -> int:
    best = 0
    for start in events:
        if start[2] != 0:
            continue
        last, reached = start[1], 1
        for step in range(1, STEPS):
            following = [row[1] for row in events if row[2] == step and row[1] >= last]
            if not following or min(following) > start[1] + WINDOW.interval:
                break
            last, reached = min(following), reached + 1
        best = max(best, reached)
    return best
