"""Persons of series, cut into statements."""

from hypothesis import given
from hypothesis import strategies as st

from app.metrics.facts.persons_of_series import statements_of

PERSONS = st.dictionaries(st.integers(1, 6), st.lists(st.integers(1, 30), unique=True, max_size=12).map(sorted))


@given(PERSONS, st.integers(1, 10))
def test_statements_name_each_person_of_each_series_once_and_no_more_than_they_may(
    persons: dict[int, list[int]], size: int
) -> None:
    statements = list(statements_of(persons, size))

    named = sorted((one, person) for groups in statements for ids, some in groups for one in ids for person in some)
    assert named == sorted((one, person) for one, some in persons.items() for person in some)
    assert all(0 < sum(len(some) for _, some in groups) <= size for groups in statements)


def test_series_of_the_same_persons_are_named_together() -> None:
    assert list(statements_of({1: [7, 8], 2: [9], 3: [7, 8]}, 5)) == [[([1, 3], (7, 8)), ([2], (9,))]]
