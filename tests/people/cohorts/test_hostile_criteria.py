"""Any JSON sent as criteria is refused with its field's name, or can be stored and evaluated."""

import json

from hypothesis import given
from hypothesis import strategies as st

from app.common.errors import ValidationFailed
from app.people.cohorts.criteria import read_criteria
from app.people.cohorts.matching import CohortMatcher
from app.people.cohorts.schemas import CohortCreate
from tests.events.actions.test_hostile_steps import accepted_or_refused, documents

groups = st.lists(st.dictionaries(st.sampled_from(["properties", "action_id", "event_id"]), documents, max_size=2))
fields = st.fixed_dictionaries(
    {},
    optional={
        "filters": documents | st.fixed_dictionaries({"properties": documents}),
        "groups": documents | groups,
        "distinct_ids": documents,
        "description": documents,
    },
)


@given(fields)
def test_criteria_are_refused_by_name_or_work(sent: dict[str, object]) -> None:
    answer = accepted_or_refused(CohortCreate, {"name": "Friends", **sent})

    if isinstance(answer, ValidationFailed):
        assert answer.attr in sent
        answer.detail.encode()
        return
    filters, groups = json.loads(json.dumps([answer.filters, answer.groups]))
    criteria = read_criteria(filters, groups)
    if criteria is not None:
        CohortMatcher({1: criteria}).cohorts_of({}, [2])
