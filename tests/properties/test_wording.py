"""Conditions in words."""

import pytest

from app.properties.filters import parse_filter
from app.properties.wording import describe_filter


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (None, ""),
        ([{"key": "plan", "value": ["pro", "team"]}], "`plan` is `pro` or `team`"),
        ([{"key": "plan", "value": ["", "pro"]}], "`plan` is empty or `pro`"),
        ([{"key": "n", "value": [1, 5], "operator": "between"}], "`n` is between `1` and `5`"),
        (
            [{"key": "plan", "operator": "is_set", "value": "is_set", "type": "person"}, {"key": "a", "value": True}],
            "the person's `plan` is set and `a` is `true`",
        ),
        ([{"key": "id", "type": "cohort", "value": 3, "operator": "not_in"}], "the person is not in the cohort `3`"),
        ([{"key": "id", "type": "cohort", "value": 3, "negation": True}], "the person is not in the cohort `3`"),
        (
            {
                "type": "AND",
                "values": [
                    {"type": "OR", "values": [{"key": "a", "value": "1"}, {"key": "b", "value": "2"}]},
                    {"type": "AND", "values": [{"key": "c", "value": "3", "operator": "is_not"}]},
                ],
            },
            "(`a` is `1` or `b` is `2`) and `c` is not `3`",
        ),
        (
            [{"key": "v", "value": "1.2", "operator": "semver_gt"}, {"key": "x" * 100, "value": list("abcdefg")}],
            f"`v` semver gt `1.2` and `{'x' * 79}…` is `a` or `b` or `c` or `d` or `e` or one of 2 more",
        ),
    ],
)
def test_filter_is_said_as_a_clause(written: object, said: str) -> None:
    assert describe_filter(parse_filter(written)) == said
