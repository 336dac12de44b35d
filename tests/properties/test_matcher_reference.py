"""The matcher, and the conditions of flags, against a second reading of the rules on decoded values."""

import json
import operator
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.common.errors import ValidationFailed
from app.flags.evaluation.rules import EvaluationContext, KnownProperties, evaluate, prepare
from app.flags.filters import validate_filters
from app.properties.filters import InvalidFilter, parse_filter
from app.properties.matcher import compile_filter

ABSENT = object()
ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
    "min": operator.ge,
    "max": operator.le,
}
TEXT_TESTS: dict[str, Callable[[str, str], bool]] = {
    "icontains": operator.contains,
    "starts_with": str.startswith,
    "ends_with": str.endswith,
}
NEGATIVES = {"is_not": "exact", "not_regex": "regex", "is_not_set": "is_set"} | {
    f"not_{one}": one for one in TEXT_TESTS
}
DATES = {"2022-11-05": datetime(2022, 11, 5, tzinfo=UTC), "05-11-2022 10:00:00": datetime(2022, 11, 5, 10, tzinfo=UTC)}

words = st.sampled_from(
    ["", "pro", "Pro", "a%b", "a_b", "true", "False", "null", '"q"', "2", "2.5", "2.50", "-1", "é", "É"]
)
scalars = words | st.booleans() | st.integers(-3, 3) | st.sampled_from([2.5, -0.5, 2.0]) | st.sampled_from([*DATES])
lists = st.lists(scalars, max_size=3)
properties = scalars | st.none() | lists | st.dictionaries(st.sampled_from("ab"), scalars, max_size=2)
OTHERS = ["exact", "is_set", "regex", "between", "not_between", "is_date_before", "is_date_after", "is_date_exact"]
names = st.sampled_from([*OTHERS, *ORDERS, *TEXT_TESTS, *NEGATIVES])
filter_values = scalars | lists | st.tuples(st.integers(-3, 0), st.integers(0, 3)).map(list)


def text(value: object) -> str:
    if value is ABSENT:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, int | float):
        return format(Decimal(str(value)).normalize() + 0, "f")
    if isinstance(value, list):
        return f"[{','.join(inner(one) for one in value)}]"
    assert isinstance(value, dict)
    return f"{{{','.join(f'{json.dumps(key)}:{inner(value[key])}' for key in sorted(value))}}}"


def inner(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else text(value)


def number(value: object) -> float | None:
    is_one = isinstance(value, int | float | str) and not isinstance(value, bool)
    return float(str(value)) if is_one and re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", str(value)) else None


def equal(wanted: object, found: object, *, ignores_case: bool) -> bool:
    if isinstance(wanted, bool) or isinstance(found, bool):
        return not isinstance(found, list | dict) and text(wanted).lower() == text(found).lower()
    one, other = text(wanted), text(found)
    return one.lower() == other.lower() if ignores_case else one == other


def expected(  # noqa: PLR0911  # a case for each kind of operator
    name: str, value: Any, found: Any, *, ignores_case: bool = False
) -> bool:
    """Say whether a property passes, by the reference of the filter language."""
    if name in NEGATIVES:
        return not expected(NEGATIVES[name], value, found, ignores_case=ignores_case)
    values = value if isinstance(value, list) else [value]
    if name == "exact":
        return any(equal(one, found, ignores_case=ignores_case) for one in values)
    if name == "is_set":
        return found is not ABSENT
    if name == "regex":
        return any(re.search(text(one), text(found)) for one in values)
    if name in TEXT_TESTS:
        return any(TEXT_TESTS[name](text(found).lower(), text(one).lower()) for one in values)
    if name.startswith("is_date"):
        return dated(name, value, found)
    if name in {"between", "not_between"}:
        low, high = (float(bound) for bound in value)
        at = number(found)
        return at is not None and (low <= at <= high) is (name == "between")
    bound = number(value)
    if bound is None:
        return found is not ABSENT and found is not None and ORDERS[name](text(found), text(value))
    at = number(found)
    return at is not None and ORDERS[name](at, bound)


def dated(name: str, value: str, found: object) -> bool:
    bound, at = DATES[value], DATES.get(found) if isinstance(found, str) else None
    if at is None:
        return False
    if name == "is_date_exact":
        return at.date() == bound.date() if len(value) == 10 else at == bound
    return at < bound if name == "is_date_before" else at > bound


def parsed(name: str, value: object, *, negation: bool) -> Any:
    """Return the filter; None where it is refused."""
    condition = {"key": "p", "type": "person", "operator": name, "value": value, "negation": negation}
    try:
        return condition, parse_filter([condition])
    except InvalidFilter:
        return condition, None


@given(names, filter_values, properties | st.just(ABSENT), st.booleans())
def test_matcher_agrees_with_the_reference(name: str, value: object, found: object, negation: bool) -> None:
    _, tree = parsed(name, value, negation=negation)
    if tree is None:
        return
    token = {} if found is ABSENT else {"p": json.dumps(found).encode()}

    assert compile_filter(tree).matches(token) is (expected(name, value, found) is not negation)


@given(names, filter_values, properties | st.just(ABSENT))
def test_flags_agree_with_metrics_but_for_case_in_equality(name: str, value: object, found: object) -> None:
    condition, tree = parsed(name, value, negation=False)
    filters: Any = {"groups": [{"properties": [condition]}]}
    try:
        validate_filters(filters)
    except ValidationFailed:
        return
    assert tree is not None  # a flag accepts nothing that metrics refuse
    token = {} if found is ABSENT else {"p": json.dumps(found).encode()}
    person = KnownProperties(token, token.keys(), is_stored=True)

    enabled = evaluate(prepare(flag_id=1, key="f", filters=filters), EvaluationContext("ann", person)).enabled

    assert enabled is expected(name, value, found, ignores_case=True)
    if name not in {"exact", "is_not"}:
        assert enabled is compile_filter(tree).matches(token)
