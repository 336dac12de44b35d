"""What holds for all counts: arithmetic, bytes, and buckets appended."""

import datetime as dt
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from app.metrics.aggregation.breakdown import SegmentCounts
from app.metrics.aggregation.calendar import ticks
from app.metrics.aggregation.contacts import ContactCounts
from app.metrics.aggregation.conversion_times import ConversionTimes
from app.metrics.aggregation.counts import BucketedCounts, Counts
from app.metrics.aggregation.distribution import Distribution
from app.metrics.aggregation.exposures import ExposureCounts
from app.metrics.aggregation.funnel import FunnelCounts
from app.metrics.aggregation.funnel_by_day import AdjustedProgress, FunnelProgress
from app.metrics.aggregation.ledger import Ledger
from app.metrics.aggregation.participants import Participants
from app.metrics.aggregation.person_values import PersonValues
from app.metrics.aggregation.quantiles import QuantileCounts
from app.metrics.aggregation.trend import TrendCounts
from app.metrics.aggregation.value_sums import ValueCounts

VARIANTS, STEPS, BUCKETS, PERSONS = 2, 3, 4, 5
START = dt.datetime(2022, 11, 1, tzinfo=dt.UTC)
DAYS = ticks(START, START + dt.timedelta(days=BUCKETS - 1), "day", ZoneInfo("UTC"))
NUMBERS = st.integers(0, 2**40)


def integers(*shape: int) -> st.SearchStrategy[NDArray[np.int64]]:
    return arrays(np.int64, shape, elements=NUMBERS)


def floats(*shape: int) -> st.SearchStrategy[NDArray[np.float64]]:
    return integers(*shape).map(lambda values: values.astype(np.float64))


def times() -> st.SearchStrategy[NDArray[np.object_]]:
    seconds = st.lists(st.integers(0, 10**6), max_size=5).map(lambda values: np.array(values, dtype=np.float64) / 2)
    one = seconds.map(lambda values: ConversionTimes.of(values / 3, values))
    return arrays(np.object_, (VARIANTS, STEPS - 1), elements=one, fill=st.nothing())


def exact_integers(*shape: int) -> st.SearchStrategy[NDArray[np.object_]]:
    """Return numbers beyond 64 bits, of which the first row is small."""
    return integers(*shape).map(lambda values: np.append(values[:1], values[1:].astype(object) * (1 << 900), axis=0))


@st.composite
def distributions(draw: st.DrawFn) -> Distribution:
    """Draw the revenue of a few persons over time."""
    slot = draw(arrays(np.int64, PERSONS, elements=st.integers(0, VARIANTS - 1)))
    entry, moments = (draw(arrays(np.int64, PERSONS, elements=st.integers(0, BUCKETS - 1))) for _ in range(2))
    ledger = Ledger(np.arange(1, PERSONS + 1), slot, DAYS.starts[entry], DAYS.starts[entry])
    amounts = draw(arrays(np.float64, PERSONS, elements=st.integers(-2, 2)))
    order = np.argsort(moments, kind="stable")
    values = PersonValues(order, moments[order], amounts[order])
    if draw(st.booleans()):
        return Distribution.of_persons(ledger, ledger.time, [values], DAYS, VARIANTS)
    return Distribution.of_events(ledger, ledger.time, (order, moments[order], amounts[order]), DAYS, VARIANTS)


COUNTS: dict[type[Counts], st.SearchStrategy[Any]] = {
    TrendCounts: st.builds(TrendCounts, floats(VARIANTS, BUCKETS), integers(VARIANTS + 2)),
    FunnelCounts: st.builds(FunnelCounts, integers(VARIANTS + 2, STEPS), times()),
    FunnelProgress: st.builds(FunnelProgress, integers(STEPS, VARIANTS, BUCKETS)),
    AdjustedProgress: st.builds(AdjustedProgress, integers(STEPS, VARIANTS, BUCKETS), integers(2, VARIANTS, BUCKETS)),
    ValueCounts: st.builds(
        ValueCounts,
        exact_integers(3, VARIANTS, BUCKETS),
        NUMBERS,
        st.just(np.zeros((1, 4))),
        st.just(np.zeros(BUCKETS, dtype=np.int64)),
    ),
    Distribution: distributions(),
    QuantileCounts: st.builds(QuantileCounts, floats(6, VARIANTS, BUCKETS), st.just(0.95)),
    ContactCounts: st.builds(ContactCounts, integers(3)),
    Participants: st.builds(Participants, *[integers(PERSONS)] * 4),
    ExposureCounts: st.builds(
        ExposureCounts,
        integers(VARIANTS + 1, BUCKETS),
        integers(VARIANTS, BUCKETS),
        integers(VARIANTS + 2),
        NUMBERS,
        NUMBERS,
        NUMBERS,
        NUMBERS,
        integers(1),
        NUMBERS,
        NUMBERS,
        NUMBERS,
    ),
}
# What stays as it is when time goes on.
TOTALS: dict[type[BucketedCounts], Callable[[Any], NDArray[Any]]] = {
    TrendCounts: lambda counts: counts.cumulative[:, -1],
    FunnelProgress: lambda counts: counts.cumulative[:, :, -1],
    AdjustedProgress: lambda counts: counts.before.sum(axis=2),
    ValueCounts: lambda counts: counts.cumulative[:, :, -1],
    Distribution: lambda counts: counts.entered.sum(axis=2),
    QuantileCounts: lambda counts: counts.cumulative[:, :, -1],
    ExposureCounts: lambda counts: np.append(
        counts.exposed, [counts.in_several, counts.event_count, counts.shown.sum()]
    ),
}

every_class = pytest.mark.parametrize("kind", COUNTS, ids=lambda kind: kind.__name__)


def plain(counts: Counts) -> list[Any]:
    """Return the fields as lists and numbers."""
    return [
        [[times.to_stored() for times in row] for row in value]
        if isinstance(value, np.ndarray) and isinstance(value.flat[0], ConversionTimes)
        else np.asarray(value).tolist()
        for value in vars(counts).values()
    ]


def below(kind: type[Counts]) -> set[type[Counts]]:
    return {one for direct in kind.__subclasses__() for one in {direct, *below(direct)}}


def test_every_class_of_counts_is_tested() -> None:
    # Segments hold counts of the other classes; ``test_incremental_distributions`` adds to stored ones.
    assert below(Counts) - {BucketedCounts, SegmentCounts} == COUNTS.keys()
    assert below(BucketedCounts) == TOTALS.keys()


@pytest.mark.parametrize(
    "kind", [kind for kind in COUNTS if kind is not QuantileCounts], ids=lambda kind: kind.__name__
)  # no sums
@given(data=st.data())
def test_addition_is_undone_by_subtraction(kind: type[Counts], data: st.DataObject) -> None:
    some, others = data.draw(COUNTS[kind]), data.draw(COUNTS[kind])

    assert plain(some + others) == plain(others + some)
    assert plain(some + others - others) == plain(some)


@every_class
@given(data=st.data())
def test_bytes_hold_all_counts(kind: type[Counts], data: st.DataObject) -> None:
    counts = data.draw(COUNTS[kind])

    read = kind.from_bytes(counts.to_bytes())

    assert type(read) is kind
    assert plain(read) == plain(counts)


@pytest.mark.parametrize("kind", TOTALS, ids=lambda kind: kind.__name__)
@given(data=st.data(), more=st.integers(0, 3))
def test_appended_buckets_keep_totals(kind: type[BucketedCounts], data: st.DataObject, more: int) -> None:
    counts = data.draw(COUNTS[kind])

    wider = counts.widened(BUCKETS + more)

    assert TOTALS[kind](wider).tolist() == TOTALS[kind](counts).tolist()
    assert plain(wider)[0] != plain(counts)[0] or more == 0
    assert counts.widened(BUCKETS - 1) is None
