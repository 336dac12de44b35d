"""What a regular expression of a user may cost."""

import asyncio
import contextlib

import pytest

from app.common import limits
from app.properties.filters import Condition, Conjunction, InvalidFilter
from app.properties.matcher import compile_filter
from app.properties.patterns import regular_expression
from app.properties.validation import compile_patterns

TOO_LARGE = f"its compiled form is larger than {limits.PATTERN_PROGRAM_BYTES.value:,} bytes"


def test_expression_that_is_too_large_when_compiled_is_refused_by_name() -> None:
    largest = max(n for n in range(1, 40) if not refusal(f"{'x{1000}' * n}y"))

    assert regular_expression(f"{'x{1000}' * largest}y").size <= limits.PATTERN_PROGRAM_BYTES.value
    assert refusal(f"{'x{1000}' * (largest + 1)}y").endswith(f"xy': {TOO_LARGE}".replace("xy", "x{1000}y"))
    assert refusal(r"(\pL|\pN){150}x1") == rf"Invalid regular expression '(\\pL|\\pN){{150}}x1': {TOO_LARGE}"


def test_expression_may_have_a_number_of_unicode_classes() -> None:
    most = limits.PATTERN_CLASSES.value

    assert not refusal("|".join([r"\pL"] * most))
    assert refusal("|".join([r"\PL"] * (most + 1))).endswith(f"more than {most} classes of Unicode characters")


def test_expression_is_compiled_once() -> None:
    assert regular_expression("once only") is regular_expression("once only")


def test_text_is_searched_as_far_as_the_size_of_the_expression_allows() -> None:
    search = regular_expression("[ab]{50}c")
    searched = limits.PATTERN_WORK.value // (search.size // 8)

    assert search.found("x" * (searched - 51) + "a" * 50 + "c")
    assert not search.found("x" * (searched - 50) + "a" * 50 + "c")


@pytest.mark.parametrize(("others", "is_found"), [("de", True), ("defg", False)])
def test_expressions_of_a_filter_share_what_one_may_search(others: str, is_found: bool) -> None:
    text = "x" * 20_000 + "a" * 50
    searched = limits.PATTERN_WORK.value // (regular_expression("[ab]{50}c").size // 8)
    last = Condition("k", "regex", "[ab]{50}$")
    first = [Condition("k", "not_regex", f"[ab]{{50}}{letter}") for letter in others]

    matches = compile_filter(Conjunction((*first, last))).matches

    assert 3 * len(text) < searched < 5 * len(text)
    for _ in range(2):  # each event has as much
        assert matches({"k": f'"{text}"'.encode()}) is is_found


def test_groups_do_not_make_an_expression_larger() -> None:
    assert regular_expression("((a)(b)){10}").size == regular_expression("(?:(?:a)(?:b)){10}").size


async def test_expressions_are_compiled_in_slices_between_which_others_run() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    await compile_patterns(Condition("k", "regex", "|".join([r"\pL"] * 30) + str(n)) for n in range(20))
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task

    assert turns >= 5  # about 10 ms a pattern


async def test_expressions_may_have_a_size_together() -> None:
    patterns = [Condition("k", "regex", f"{'x{1000}' * 16}{number}") for number in range(17)]
    size = regular_expression("x{1000}" * 16 + "0").size
    fitting = limits.PATTERN_PROGRAMS_BYTES.value // size

    await compile_patterns(patterns[:fitting])
    with pytest.raises(InvalidFilter) as refused:
        await compile_patterns(patterns[: fitting + 1])

    assert (refused.value.code, refused.value.detail) == ("too_many_patterns", limits.PATTERN_PROGRAMS_BYTES.detail)


def refusal(pattern: str) -> str:
    """Return why a pattern is refused; an empty text if it is not."""
    try:
        regular_expression(pattern)
    except InvalidFilter as error:
        return error.detail
    return ""
