"""Any JSON sent as steps is refused with its field's name, or can be stored, matched and shown."""

import json

from hypothesis import given
from hypothesis import strategies as st

from app.common.errors import ValidationFailed
from app.events.actions.matching import alternatives
from app.events.actions.schemas import ActionCreate, ActionStep, ActionStepRead
from app.http.request_body import Model, validate
from app.properties.filters import Condition
from app.properties.matcher import PropertyMatcher, compile_filter

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(
        ["AND", "OR", "person", "event", "cohort", "element", "regex", "(", "[a-", "\0", "\ud800", "{x}", ""]
    )
    | st.text(max_size=4)
)
keys = st.sampled_from(["key", "value", "type", "operator", "values", "negation", "group_type_index", "a__gt", "a\0"])
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=5), max_leaves=12
)
steps = st.lists(
    st.dictionaries(st.sampled_from(list(ActionStep.model_fields)), documents, max_size=6) | documents, max_size=3
)


def accepted_or_refused(model: type[Model], body: object) -> Model | ValidationFailed:
    try:
        return validate(model, body)
    except ValidationFailed as refusal:
        return refusal


def resolve(_condition: Condition) -> PropertyMatcher:
    return PropertyMatcher(frozenset(), lambda _properties: True)


@given(steps | documents)
def test_steps_are_refused_by_name_or_work(sent: object) -> None:
    answer = accepted_or_refused(ActionCreate, {"name": "Seen", "steps": sent})

    if isinstance(answer, ValidationFailed):
        assert (answer.attr or "").startswith("steps")
        answer.detail.encode()
        return
    stored = json.loads(json.dumps([step.model_dump() for step in answer.steps]))

    for step in stored:
        ActionStepRead.model_validate(step).model_dump_json()
    for alternative in alternatives(stored):
        if not {"event", "person"} <= alternative.filter.types:
            compile_filter(alternative.filter, resolve).matches({})
