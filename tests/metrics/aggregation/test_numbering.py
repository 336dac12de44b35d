"""Numbers of actors by a table are those by sorting."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.metrics.aggregation.numbering import count_distinct, lowest_of_each, numbered

dense = st.integers(-20, 20)
sparse = st.integers(-(2**62), 2**62)


@given(st.lists(dense, max_size=30) | st.lists(sparse, max_size=30) | st.lists(dense | sparse, max_size=30))
def test_numbers_are_those_of_sorted_keys(keys: list[int]) -> None:
    array = np.array(keys, dtype=np.int64)
    expected, place = np.unique(array, return_inverse=True)

    distinct, number = numbered(array)

    assert distinct.tolist() == expected.tolist()
    assert number.tolist() == place.tolist()
    assert count_distinct(array) == len(expected)


@given(st.lists(st.tuples(dense | sparse, st.integers(-(2**62), 2**62)), max_size=30))
def test_lowest_values_are_those_of_each_key(pairs: list[tuple[int, int]]) -> None:
    keys, values = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    expected = {key: min(value for one, value in pairs if one == key) for key, _ in pairs}

    assert lowest_of_each(keys, values).tolist() == [expected[key] for key in sorted(expected)]
