"""The server and local evaluation by PostHog's SDK give the same values."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from posthog.feature_flags import InconclusiveMatchError, match_feature_flag_properties

from app.flags.evaluation.rules import EvaluationContext, KnownProperties, evaluate, prepare
from app.flags.local_evaluation.documents import definition

KEYS = ("country", "age", "since", "paid")
WORDS = ("nl", "NL", "De", "amsterdam", "7", "41", "2.5")
NUMBERS = (0, 7, 41, 2.5, 1000)
MOMENTS = ("2022-11-01T00:00:00Z", "2022-11-02", "2022-11-02T10:30:00Z", "2022-12-24T18:00:00Z")

TRUTHS = (True, False, "true", "False", "yes", 1)

words = st.sampled_from(WORDS)
numbers = st.sampled_from(NUMBERS)
plain = words | numbers
properties = st.fixed_dictionaries(
    {},
    optional={
        "country": words,
        "age": numbers | st.sampled_from(("7", "41")),
        "since": st.sampled_from(MOMENTS),
        "paid": st.sampled_from(TRUTHS),
    },
)
conditions = st.one_of(
    st.fixed_dictionaries(
        {
            "key": st.sampled_from(("country", "age")),
            "operator": st.sampled_from(("exact", "is_not")),
            "value": plain | st.lists(plain, min_size=1, max_size=3),
        }
    ),
    st.fixed_dictionaries(
        {
            "key": st.sampled_from(("country", "age")),
            "operator": st.sampled_from(("icontains", "not_icontains", "regex", "not_regex")),
            "value": st.sampled_from(("n", "ams", "1", "7", "d")),
        }
    ),
    st.fixed_dictionaries(
        {
            "key": st.sampled_from(("country", "age")),
            "operator": st.sampled_from(("gt", "gte", "lt", "lte")),
            "value": numbers | st.sampled_from(("7", "40")),
        }
    ),
    st.fixed_dictionaries(
        {
            "key": st.just("since"),
            "operator": st.sampled_from(("is_date_before", "is_date_after")),
            "value": st.sampled_from(MOMENTS),
        }
    ),
    st.fixed_dictionaries(
        {
            "key": st.just("paid"),
            "operator": st.sampled_from(("exact", "is_not")),
            "value": st.sampled_from((*TRUTHS, [True], [False], ["true"], ["false"])),
        }
    ),
    st.fixed_dictionaries({"key": st.sampled_from(KEYS), "operator": st.just("is_set"), "value": st.just("is_set")}),
).map(lambda condition: {**condition, "type": "person"})
percentages = st.none() | st.integers(0, 100) | st.floats(0, 100)
variant_keys = st.sampled_from(("control", "test", "third"))
groups = st.fixed_dictionaries(
    {"properties": st.lists(conditions, max_size=3), "rollout_percentage": percentages},
    optional={"variant": st.none() | variant_keys},
)
variants = st.lists(
    st.fixed_dictionaries({"key": variant_keys, "rollout_percentage": st.integers(0, 50)}),
    max_size=3,
    unique_by=lambda variant: variant["key"],
)
filters = st.fixed_dictionaries(
    {"groups": st.lists(groups, max_size=4), "multivariate": st.none() | variants.map(lambda them: {"variants": them})}
)


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20), filters, properties)
def test_server_answers_as_the_sdk_does_by_the_servers_definitions(
    key: str, distinct_id: str, filters: dict[str, Any], properties: dict[str, Any]
) -> None:
    defined = definition(
        flag_id=1,
        name="",
        key=key,
        filters=filters,
        active=True,
        deleted=False,
        ensure_experience_continuity=False,
        cohorts={},
    )
    tokens = {name: json.dumps(value).encode() for name, value in properties.items()}
    context = EvaluationContext(distinct_id, KnownProperties(tokens, tokens.keys()))

    value = evaluate(prepare(flag_id=1, key=key, filters=filters), context).value

    try:
        expected = match_feature_flag_properties(
            defined, distinct_id, properties, bucketing_value=distinct_id, property_matching_version=2
        )
    except InconclusiveMatchError:  # it would ask the server
        return
    assert value == expected
