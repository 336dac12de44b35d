"""What filters may hold is counted before they are parsed, and the work of parsing them is linear in their size."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterable
from types import FrameType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.common import limits
from app.properties.budget import FilterBudget, check_size, size_of
from app.properties.filters import InvalidFilter, canonical, parse_filter
from app.properties.validation import validate_filter

CONDITION = {"key": "k", "value": "v", "type": "event"}


def refusal(properties: object) -> str:
    try:
        FilterBudget().count(properties)
    except InvalidFilter as error:
        return error.code
    return ""


def nested(entries: list[object]) -> object:
    return {"type": "OR", "values": [{"type": "AND", "values": entries}]}


@pytest.mark.parametrize("form", [list, nested, json.dumps, lambda entries: json.dumps(nested(entries))])
@pytest.mark.parametrize(
    ("entries_of", "most", "code"),
    [
        (lambda n: [CONDITION] * n, limits.CONDITIONS.value, "too_many_conditions"),
        (lambda n: [None, {**CONDITION, "value": ["v"] * n}], limits.CONDITION_VALUES.value, "too_many_values"),
        (
            lambda n: (
                [{**CONDITION, "operator": "regex", "value": f"{i:01000}"} for i in range(65)]
                + [{**CONDITION, "operator": "not_regex", "value": "é" * ((n - 65_000) // 2)}]
            ),
            limits.PATTERN_BYTES.value,
            "too_many_patterns",
        ),
        (lambda n: [{**CONDITION, "type": "element", "value": ["a"] * n}], 1024, "too_many_patterns"),
    ],
)
def test_filter_is_refused_above_a_limit_in_any_form(
    form: Callable[[object], object], entries_of: Callable[[int], object], most: int, code: str
) -> None:
    assert refusal(form(entries_of(most))) == ""
    assert refusal(form(entries_of(most + 2))) == code


def test_conditions_of_the_short_form_and_of_several_filters_count_together() -> None:
    budget = FilterBudget()
    budget.count({f"k{n}__regex": "a" for n in range(limits.CONDITIONS.value - 1)})
    budget.count([CONDITION])

    with pytest.raises(InvalidFilter):
        budget.count([CONDITION])


def test_document_may_have_a_size() -> None:
    largest = ["é" * ((limits.DOCUMENT_BYTES.value - 4) // 2)]

    assert size_of(largest) == limits.DOCUMENT_BYTES.value == len(json.dumps(largest, ensure_ascii=False).encode())
    check_size(largest)
    with pytest.raises(InvalidFilter, match="262,144"):
        check_size(largest, "")


conditions = st.fixed_dictionaries(
    {
        "key": st.sampled_from("abc"),
        "value": st.sampled_from(["x", ["x", 1], "^a+$", 2.5]),
        "operator": st.sampled_from(["exact", "is_not", "icontains", "regex", "gt", "is_set"]),
        "negation": st.booleans(),
    }
)
filters = st.recursive(
    st.lists(conditions, min_size=1, max_size=12),
    lambda inner: st.lists(inner, min_size=1, max_size=4).map(
        lambda lists: [{"type": ("AND", "OR")[n % 2], "values": values} for n, values in enumerate(lists)]
    ),
    max_leaves=4,
)


def calls_of(work: Callable[[], object]) -> int:
    """Return how many functions of Python the work calls."""
    calls = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


def work_of(sent: object) -> int:
    """Return how much work it is to count, read, write and compile a filter whose patterns are compiled."""

    def read() -> None:
        with contextlib.suppress(InvalidFilter):
            FilterBudget().count(sent)
            tree = parse_filter(sent)
            canonical(tree)
            validate_filter(tree)

    read()
    return calls_of(read)


def together(values: Iterable[object]) -> object:
    return {"type": "AND", "values": [{"type": "OR", "values": value} for value in values]}


@given(filters)
def test_reading_a_filter_four_times_as_large_takes_four_times_the_work(values: object) -> None:
    four = json.loads(json.dumps([values] * 4))
    for number, copy in enumerate(four):
        four[number] = json.loads(json.dumps(copy).replace('"key": "', f'"key": "{number}'))

    assert work_of(together(four)) <= 4 * work_of(together(four[:1])) + 100


def either(number: int) -> object:
    return {"type": "OR", "values": [{**CONDITION, "key": f"{number}", "type": kind} for kind in ("event", "person")]}


@pytest.mark.parametrize("choices", range(8))
def test_alternatives_are_not_multiplied_out_beyond_a_number_of_conditions(choices: int) -> None:
    others = {"type": "AND", "values": [{**CONDITION, "key": f"o{n}"} for n in range(180)]}

    assert work_of({"type": "AND", "values": [others, *map(either, range(choices))]}) < 32_000
