"""Plurals of the names of group types."""

import pytest

from app.common.nouns import capitalized, plural


@pytest.mark.parametrize(
    ("name", "several"),
    [
        ("company", "companies"),
        ("Company", "Companies"),
        ("day", "days"),
        ("organization", "organizations"),
        ("business", "businesses"),
        ("box", "boxes"),
        ("branch", "branches"),
        ("teams", "teams"),
        ("y", "ys"),
    ],
)
def test_plural_of_a_name_is_english(name: str, several: str) -> None:
    assert plural(name) == several
    assert capitalized(several)[0] == several[0].upper()
