"""The criteria of cohorts as evaluators inside SDKs read them."""

from collections.abc import Mapping

from pydantic import JsonValue

from app.flags.filters import JsonDict
from app.flags.local_evaluation.evaluators import condition_for_evaluators

CohortDefinitions = Mapping[int, JsonValue]


def criteria_for_evaluators(criteria: JsonValue) -> JsonDict | None:
    """Return the criteria; None where evaluators have no word for a part of them."""
    if not isinstance(criteria, dict):
        return None
    if "values" not in criteria:
        return _condition(criteria)
    values = criteria["values"]
    written = [criteria_for_evaluators(value) for value in values] if isinstance(values, list) else [None]
    understood: list[JsonValue] = [value for value in written if value is not None]
    return {**criteria, "values": understood} if len(understood) == len(written) else None


def plain_conditions(criteria: JsonValue) -> list[JsonDict] | None:
    """Return the conditions of a cohort if they are on properties and must all hold; None for other criteria."""
    if not isinstance(criteria, dict) or criteria.get("type") != "AND":
        return None
    values = criteria.get("values")
    conditions: list[JsonDict] = []
    for value in values if isinstance(values, list) else []:
        nested = _plain(value) if isinstance(value, dict) else None
        if nested is None:
            return None
        conditions += nested
    return conditions or None


def _plain(value: JsonDict) -> list[JsonDict] | None:
    if "values" in value:
        return plain_conditions(value)
    condition = condition_for_evaluators(value) if value.get("type") == "person" else None
    return None if condition is None else [condition]


def _condition(entry: JsonDict) -> JsonDict | None:
    """Return a condition inside a cohort: there evaluators of all ages read ``negation``, and few ``not_in``."""
    plain: JsonDict = {name: value for name, value in entry.items() if name != "negation"}
    if entry.get("type") != "cohort":
        written = condition_for_evaluators(plain)
        return None if written is None else {**entry, **written}
    is_excluding = (entry.get("operator") in {"is_not", "not_in"}) != bool(entry.get("negation"))
    return {**plain, "operator": "in", "negation": is_excluding}
