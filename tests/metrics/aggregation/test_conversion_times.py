"""Conversion times stay exact when parts are added and subtracted."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.metrics.aggregation.conversion_times import ConversionTimes, exact_sum

seconds = st.integers(0, 10**7) | st.floats(0, 1e7)
medians = (st.integers(0, 40) | st.integers(0, 2**33)).map(lambda halves: halves / 2)
tries = st.lists(st.tuples(seconds, medians), max_size=30)


def times(actors: list[tuple[float, float]]) -> ConversionTimes:
    averages, medians = np.array(actors, dtype=np.float64).reshape(-1, 2).T
    return ConversionTimes.of(averages, medians)


def summary(of: ConversionTimes) -> tuple[list[float], list[int], float]:
    return of.values.tolist(), of.counts.tolist(), math.fsum(of.total)


@given(values=st.lists(st.floats(-1e15, 1e15)))
def test_exact_sum_equals_sum_of_fractions(values: list[float]) -> None:
    assert sum(map(Fraction, exact_sum(values))) == sum(map(Fraction, values))


@given(some=tries, others=tries)
def test_times_of_parts_add_up(some: list[tuple[float, float]], others: list[tuple[float, float]]) -> None:
    together = times(some + others)

    assert summary(times(some) + times(others)) == summary(together)
    assert summary(together - times(others)) == summary(times(some))


@given(actors=tries.filter(bool))
def test_median_equals_that_of_numpy(actors: list[tuple[float, float]]) -> None:
    assert times(actors).median == pytest.approx(np.median([median for _, median in actors]), abs=0)


def test_times_without_actors_are_nan() -> None:
    assert math.isnan(times([]).average)
    assert math.isnan(times([]).median)


@given(actors=tries)
def test_stored_times_are_read_back(actors: list[tuple[float, float]]) -> None:
    assert summary(ConversionTimes.from_stored(times(actors).to_stored())) == summary(times(actors))
