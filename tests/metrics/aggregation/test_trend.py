"""Trends: events and actors by the variant that each event names."""

import datetime as dt
from collections.abc import Sequence
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.common.timestamps import to_microseconds
from app.metrics.aggregation.calendar import Ticks, ticks
from app.metrics.aggregation.trend import Math, aggregate_trend, count_exposed
from app.metrics.facts.columns import FactColumns

START = dt.datetime(2022, 11, 1, tzinfo=dt.UTC)
HOURS = 3_600_000_000
Row = tuple[int, float, int, float]  # actor, hour since the start, variant, value

rows_of_few = st.lists(
    st.tuples(
        st.integers(1, 4), st.integers(0, 71), st.integers(0, 3), st.sampled_from([1.0, 2.5, -3.0, float("nan")])
    ),
    max_size=20,
)


def facts(rows: Sequence[Row]) -> FactColumns:
    return FactColumns(
        np.array([row[0] for row in rows], dtype=np.int64),
        np.array([to_microseconds(START) + int(row[1] * HOURS) for row in rows], dtype=np.int64),
        np.array([row[2] for row in rows], dtype=np.int32),
        np.array([row[3] for row in rows], dtype=np.float64),
        np.arange(len(rows), dtype=np.int64),
    )


def three_days() -> Ticks:
    return ticks(START, START + dt.timedelta(hours=71), "day", ZoneInfo("UTC"))


ROWS: list[Row] = [
    (1, 1, 1, 4.0),
    (1, 2, 1, 1.0),
    (2, 3, 1, float("nan")),
    (1, 30, 1, 10.0),
    (3, 31, 2, 7.0),
    (1, 50, 2, 1.0),
    (4, 51, 0, 99.0),
    (4, 52, 3, 99.0),
]


@pytest.mark.parametrize(
    ("math", "control", "test"),
    [
        ("total", [3, 1, 0], [0, 1, 1]),
        ("dau", [2, 0, 0], [0, 1, 1]),
        ("sum", [5, 10, 0], [0, 7, 1]),
        ("avg", [2.5, 10, 0], [0, 7, 1]),
        ("min", [1, 10, 0], [0, 7, 1]),
        ("max", [4, 10, 0], [0, 7, 1]),
        ("median", [2.5, 10, 0], [0, 7, 1]),
        ("p90", [3.7, 10, 0], [0, 7, 1]),
        ("p95", [3.85, 10, 0], [0, 7, 1]),
        ("p99", [3.97, 10, 0], [0, 7, 1]),
        ("avg_count_per_actor", [1.5, 1, 0], [0, 1, 1]),
        ("min_count_per_actor", [1, 1, 0], [0, 1, 1]),
        ("max_count_per_actor", [2, 1, 0], [0, 1, 1]),
        ("median_count_per_actor", [1.5, 1, 0], [0, 1, 1]),
        ("p90_count_per_actor", [1.9, 1, 0], [0, 1, 1]),
    ],
)
def test_aggregation_reduces_values_of_bucket(math: Math, control: list[float], test: list[float]) -> None:
    counts = aggregate_trend(facts(ROWS), three_days(), math, 2)

    assert counts.values.tolist() == [pytest.approx(control), pytest.approx(test)]
    assert counts.cumulative[:, -1] == pytest.approx(counts.count)


def test_events_without_a_variant_or_with_another_are_counted_apart() -> None:
    counts = aggregate_trend(facts(ROWS), three_days(), "total", 2)

    assert (counts.of_variants.tolist(), counts.without_variant, counts.other_variant) == ([4, 2], 1, 1)


def test_actor_with_two_variants_is_exposed_to_both() -> None:
    assert count_exposed(facts(ROWS), 2).count.tolist() == [2, 2]


@given(rows=rows_of_few)
def test_totals_count_every_event_and_person_once(rows: list[Row]) -> None:
    total = aggregate_trend(facts(rows), three_days(), "total", 2)
    persons = aggregate_trend(facts(rows), three_days(), "dau", 2)

    assert total.of_variants.sum() + total.without_variant + total.other_variant == len(rows)
    assert total.count.tolist() == total.of_variants.tolist()
    assert persons.count.tolist() == [len({row[0] for row in rows if row[2] == variant}) for variant in (1, 2)]
    assert persons.count.tolist() == count_exposed(facts(rows), 2).count.tolist()
