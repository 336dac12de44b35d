"""Numbers formatted for people."""

import math

import pytest

from app.pages.formatting import (
    NOTHING,
    format_change,
    format_number,
    format_p_value,
    format_percentage,
    format_probability,
)

MINUS = "\N{MINUS SIGN}"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, NOTHING),
        (math.inf, NOTHING),
        (0.0, "0"),
        (64000, "64,000"),
        (1.86724, "1.867"),
        (0.0057261, "0.005726"),
        (-2.5, f"{MINUS}2.500"),
        (123456.78, "123,457"),
        (1.5e-9, "1.500 \N{MULTIPLICATION SIGN} 10⁻⁹"),
        (2.5e12 + 0.5, "2,500,000,000,000"),
        (-2.5e15, f"{MINUS}2.500 \N{MULTIPLICATION SIGN} 10¹⁵"),
    ],
)
def test_numbers_have_four_digits(value: float | None, written: str) -> None:
    assert format_number(value) == written


@pytest.mark.parametrize(
    ("value", "written"),
    [(None, NOTHING), (0.0, "0.00%"), (1.0, "100%"), (0.0057261, "0.573%"), (0.125, "12.5%"), (1e-9, "under 0.0001%")],
)
def test_shares_are_percentages_of_three_digits(value: float | None, written: str) -> None:
    assert format_percentage(value) == written


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (1.18845, "+118.8%"),
        (-0.0341, f"{MINUS}3.4%"),
        (0.0, "+0.0%"),
        (0.00042, "+0.042%"),
        (12.5, "+1,250.0%"),
        (None, NOTHING),
    ],
)
def test_changes_have_a_sign(value: float | None, written: str) -> None:
    assert format_change(value) == written


@pytest.mark.parametrize(
    ("value", "written"),
    [(1.0, "over 99.99%"), (0.99995, "over 99.99%"), (0.5, "50.00%"), (0.00001, "under 0.01%"), (0.0, "under 0.01%")],
)
def test_probabilities_are_not_rounded_to_certainty(value: float, written: str) -> None:
    assert format_probability(value) == written


@pytest.mark.parametrize(
    ("value", "written"),
    [(None, NOTHING), (0.0312, "p = 0.031"), (1.0, "p = 1"), (1.5e-120, "p < 0.0001"), (0.0, "p < 0.0001")],
)
def test_p_values_have_two_digits(value: float | None, written: str) -> None:
    assert format_p_value(value) == written
