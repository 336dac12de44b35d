"""The examples in the reference of the filter language are true."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from app.properties.filters import parse_filter
from app.properties.matcher import compile_filter
from app.properties.operators import OPERATORS
from tests.flags.evaluation.asking import create_flag, values
from tests.support.programs import ROOT
from tests.support.service import Service, event

pytestmark = pytest.mark.one_database

PAGE = (ROOT / "docs/reference/filters.md").read_text()
EVERYWHERE, IN_FLAGS = PAGE.split("## Where flags differ")
ROW = re.compile(r"^\| `(\w+)` \|([^|]*)\|([^|]*)\|([^|]*)\|$", re.MULTILINE)
JSON = re.compile(r"`([^`]+)`|absent")
WITHOUT_EXAMPLES = {"in", "not_in", "flag_evaluates_to"}


def examples(text: str) -> Iterator[tuple[str, Any, str | None, bool]]:
    """Yield operator, value, property as JSON (None where it is absent), and whether it matches."""
    for operator, value, matching, others in ROW.findall(text):
        if operator in OPERATORS and operator not in WITHOUT_EXAMPLES:
            for cell, expected in ((matching, True), (others, False)):
                for found in JSON.finditer(cell):
                    yield operator, json.loads(value.strip("` ") or "null"), found[1], expected


def condition(operator: str, value: object) -> dict[str, object]:
    return {"key": "p", "type": "person", "operator": operator, "value": value}


@pytest.mark.parametrize(("operator", "value", "raw", "expected"), list(examples(EVERYWHERE)))
def test_example_of_the_reference_is_true(operator: str, value: object, raw: str | None, *, expected: bool) -> None:
    for negation in (False, True):
        matcher = compile_filter(parse_filter([{**condition(operator, value), "negation": negation}]))
        assert matcher.matches({} if raw is None else {"p": raw.encode()}) is (expected is not negation)


@pytest.mark.parametrize(("operator", "value", "raw", "expected"), list(examples(IN_FLAGS)))
def test_example_for_flags_is_true_for_flags_only(
    operator: str, value: object, raw: str | None, *, expected: bool
) -> None:
    tree = parse_filter([condition(operator, value)])
    token = {} if raw is None else {"p": raw.encode()}

    assert compile_filter(tree, ignores_case=True).matches(token) is expected
    if raw != '"free"':
        assert compile_filter(tree).matches(token) is not expected


def test_reference_has_an_example_of_every_operator() -> None:
    assert {operator for operator, *_ in examples(EVERYWHERE)} == set(OPERATORS) - WITHOUT_EXAMPLES
    assert all(f"| `{operator}` |" in EVERYWHERE for operator in WITHOUT_EXAMPLES)


async def test_examples_hold_for_flags_and_cohorts_over_http(service: Service) -> None:
    chosen = [row for row in examples(EVERYWHERE) if row[0] in {"is_not", "between", "is_date_before", "semver_caret"}]
    chosen = [row for row in chosen if not isinstance(row[1], list) or row[0] in {"is_not", "between"}]
    for number, (_, _, raw, _) in enumerate(chosen):
        properties = {} if raw is None else {"p": json.loads(raw)}
        await service.capture(event("$identify", f"{number}", properties={"$set": {"known": True, **properties}}))
    filters = {json.dumps([operator, value]): (operator, value) for operator, value, *_ in chosen}
    counts = {}
    for number, (key, (operator, value)) in enumerate(filters.items()):
        listed = [condition(operator, value), {**condition("is_set", None), "key": "known"}]
        await create_flag(service, f"f{number}", filters={"groups": [{"properties": listed}]})
        body = {"name": key, "filters": {"properties": listed}}
        cohort = (await service.post("/cohorts/", body)).json()
        counts[key] = (await service.read(f"/cohorts/{cohort['id']}/"))["count"]

    found = [await values(service, f"{number}") for number in range(len(chosen))]

    order = list(filters)
    for number, (operator, value, _, expected) in enumerate(chosen):
        assert found[number][f"f{order.index(json.dumps([operator, value]))}"] is expected
    for position, key in enumerate(order):
        assert counts[key] == sum(person[f"f{position}"] for person in found)
