"""Samples of exposed persons, compared with a recount person by person."""

import datetime as dt
from collections.abc import Sequence
from fractions import Fraction
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.common.timestamps import to_microseconds
from app.experiments.scorecard.metrics import metric_type_of, variants_of
from app.metrics.aggregation.calendar import Ticks, ticks
from app.metrics.aggregation.ledger import Ledger
from app.metrics.aggregation.samples import SampleMath, count_samples
from app.metrics.aggregation.value_sums import ValueCounts
from app.metrics.facts.columns import FactColumns
from app.statistics.estimates import sample_of
from tests.support.examples import examples

START = dt.datetime(2022, 11, 1, tzinfo=dt.UTC)
HOUR = 3_600_000_000
DAYS = 3
VARIANTS = 2
Exposure = tuple[int, int, int]  # person, hours since the start, variant
Event = tuple[int, int, float]  # person, hours since the start, number

EXPOSURES = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 71), st.integers(0, 3)), max_size=12)
EVENTS = st.lists(
    st.tuples(st.integers(1, 6), st.integers(0, 71), st.sampled_from([1.0, 2.5, -3.0, float("nan")])), max_size=25
)
MATHS: list[SampleMath] = ["total", "dau", "sum", "avg"]


def facts(rows: Sequence[tuple[int, int, float]], *, with_variants: bool) -> FactColumns:
    number = np.array([row[2] for row in rows], dtype=np.float64)
    return FactColumns(
        np.array([row[0] for row in rows], dtype=np.int64),
        np.array([to_microseconds(START) + row[1] * HOUR for row in rows], dtype=np.int64),
        number.astype(np.int32) if with_variants else np.zeros(len(rows), dtype=np.int32),
        np.full(len(rows), np.nan) if with_variants else number,
        np.arange(len(rows), dtype=np.int64),
    )


def days() -> Ticks:
    return ticks(START, START + dt.timedelta(hours=71), "day", ZoneInfo("UTC"))


def counted(exposures: Sequence[Exposure], events: Sequence[Event], math: SampleMath) -> ValueCounts:
    ledger = Ledger.of(facts(exposures, with_variants=True), VARIANTS).of_variants(VARIANTS)
    return count_samples(ledger, facts(events, with_variants=False), days(), math, VARIANTS)


def one_by_one(
    exposures: Sequence[Exposure], events: Sequence[Event], math: SampleMath, until: int
) -> NDArray[np.float64]:
    """Return [persons, sum, sum of squares, ...] of each variant, of what happened before an hour."""
    moments = np.zeros((6, VARIANTS))
    for person in {person for person, _, _ in exposures}:
        shown = {(hour, variant) for who, hour, variant in exposures if who == person and 1 <= variant <= VARIANTS}
        if len({variant for _, variant in shown}) != 1:
            continue
        first, variant = min(shown)
        if first >= until:
            continue
        numbers = [number for who, hour, number in events if who == person and first <= hour < until]
        numeric = [number for number in numbers if not np.isnan(number)]
        value = {"total": len(numbers), "dau": min(len(numbers), 1)}.get(math, sum(numeric))
        count = len(numeric)
        moments[:, variant - 1] += [1, value, value**2, count, count**2, value * count]
    return moments[: 6 if math == "avg" else 3]


def plain(counts: ValueCounts, day: int) -> NDArray[np.float64]:
    """Return the sums that ``one_by_one`` returns."""
    return np.array([list(map(float, sums)) for sums in counts.moments(day)]).T


@pytest.mark.parametrize("math", MATHS)
@given(exposures=EXPOSURES, events=EVENTS)
def test_sums_of_each_day_equal_recount_of_all_persons(
    math: SampleMath, exposures: list[Exposure], events: list[Event]
) -> None:
    found = counted(exposures, events, math)

    for day in range(DAYS):
        assert plain(found, day) == pytest.approx(one_by_one(exposures, events, math, (day + 1) * 24))


@pytest.mark.parametrize("math", MATHS)
@given(some=EXPOSURES, others=EXPOSURES, events=EVENTS)
def test_counts_of_different_persons_add_up(
    math: SampleMath, some: list[Exposure], others: list[Exposure], events: list[Event]
) -> None:
    others = [(person + 10, hour, variant) for person, hour, variant in others]
    events = events + [(person + 10, hour, number) for person, hour, number in events]

    together = counted(some + others, events, math)
    added = counted(some, events, math) + counted(others, events, math)

    for day in range(DAYS):
        assert plain(added, day) == pytest.approx(plain(together, day))


def test_large_values_of_others_cost_no_digits() -> None:
    found = counted([(1, 0, 1), (2, 0, 2)], [(1, 1, 1e17), (2, 1, 0.1), (2, 30, 0.2)], "sum")

    assert [plain(found, day)[1, 1] for day in range(DAYS)] == pytest.approx([0.1, 0.3, 0.3], rel=1e-15)


def test_refunded_purchase_leaves_no_trace() -> None:
    exposures = [(person, 0, 1) for person in range(1, 200)]
    events: list[Event] = [(person, 1, 5.5) for person in range(1, 200)]

    found = counted(exposures, [*events, (1, 30, 1e9), (1, 60, -1e9)], "sum")

    assert plain(found, -1)[:, 0].tolist() == [199, 199 * 5.5, 199 * 5.5**2]


LARGE = st.tuples(st.integers(-(10**9), 10**9), st.integers(1, 50), st.lists(st.floats(-1, 1), min_size=3, max_size=8))


@settings(max_examples=examples(40))
@given(level=LARGE, other=LARGE, parts=st.integers(1, 3), math=st.sampled_from(["sum", "avg"]))
def test_variance_of_large_values_with_small_spread_keeps_nine_digits(
    level: tuple[int, int, list[float]], other: tuple[int, int, list[float]], parts: int, math: SampleMath
) -> None:
    """Of values in several events, merged from two counts, and of the ratio to their number, against fractions."""
    found, values = None, list[list[float]]()
    for place, (mean, spread, noise) in enumerate((level, other)):
        persons = [place * 100 + number for number in range(1, len(noise) + 1)]
        own = [[float(mean + spread * one), *[mean * 0.7] * (parts - 1)] for one in noise]
        events = [(who, 1, value) for who, row in zip(persons, own, strict=True) for value in row]
        counts = counted([(who, 0, 1) for who in persons], events, math)
        found, values = counts if found is None else found + counts, values + own
    assert found is not None

    [variant, _] = variants_of(found, metric_type_of(math), ["control", "test"])
    sums = [sum(map(Fraction, row)) / (parts if math == "avg" else 1) for row in values]
    exact = sum((one - sum(sums) / len(sums)) ** 2 for one in sums) / (len(sums) - 1) / len(sums)
    deviation = max(abs(float(one)) for one in sums) * 1e-9
    if exact > deviation**2:
        assert sample_of(variant).variance == pytest.approx(float(exact), rel=1e-9)


def test_equal_large_values_have_no_variance_at_all() -> None:
    found = counted([(who, 0, 1) for who in range(1, 8)], [(who, 1, 1e9 + 0.1) for who in range(1, 8)], "sum")

    [variant, _] = variants_of(found, "mean", ["control", "test"])
    assert sample_of(variant).variance == 0
