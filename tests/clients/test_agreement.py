"""The server evaluates every flag that it accepts as PostHog's own evaluators do, or these ask it."""

import json
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.common.errors import ValidationFailed
from app.flags.evaluation.rules import EvaluationContext, KnownProperties, evaluate, prepare
from app.flags.filters import validate_filters, validate_split
from app.flags.local_evaluation.cohorts import criteria_for_evaluators
from app.flags.local_evaluation.documents import definition
from app.flags.local_evaluation.evaluators import is_compared
from app.flags.options import validate_options, with_enrollment
from app.flags.payloads import validate_payloads
from app.people.cohorts.criteria import read_filters
from app.people.cohorts.matching import CohortMatcher
from tests.clients.clients import node_command, python_command
from tests.support.examples import examples

pytestmark = pytest.mark.clients

EVALUATORS = {
    "posthog-python/7.91.1": python_command("7.91.1", "evaluate.py"),
    "posthog-python/6.9.3": python_command("6.9.3", "evaluate.py"),
    "posthog-node/5.70.0": node_command("5.70.0", "evaluate.js"),
    "posthog-node/4.18.0": node_command("4.18.0", "evaluate.js"),
}
COHORT = 3

TEXTS = ("É", "é", "TRUE", "null", "nl", "NL", "Pro", "pro plan", "de", "7", "2.5", "true", "a%_b", "")
PATTERNS = ("n", "PRO", "7", "_", "l$", "^[a-n]")
DATES = ("2022-11-01T00:00:00Z", "2022-11-02", "2022-11-02T10:30:00+02:00", "-7d", "-1h", "-2w", "-3m", "-1y")
MOMENTS = ("2022-11-01T00:00:00Z", "2022-11-02", "2022-11-02T08:30:00Z", "2100-01-01T00:00:00Z")
VERSIONS = ("1.2.3", "1.2", "2.0.0", "0.3.1")
texts = st.sampled_from(TEXTS)
ascii_texts = st.sampled_from([text for text in TEXTS if text.isascii()])
numbers = st.sampled_from((0, 7, -1, 2.5, 1000))
truths = st.booleans()
anything = texts | numbers | truths
keys = st.sampled_from(("plan", "size"))


def condition(key: Any, operators: Any, value: Any) -> Any:
    return st.fixed_dictionaries(
        {"key": key, "operator": st.sampled_from(operators), "value": value},
        optional={"negation": truths},
    )


on_properties = st.one_of(
    condition(keys, ("exact", "is_not"), anything | st.lists(anything, min_size=1, max_size=3)),
    condition(keys, ("icontains", "not_icontains", "starts_with", "not_ends_with"), ascii_texts),
    condition(keys, ("regex", "not_regex"), st.sampled_from(PATTERNS)),
    condition(st.just("amount"), ("gt", "gte", "lt", "lte", "min", "max"), numbers),
    condition(st.just("amount"), ("between", "not_between"), st.just([0, 100])),
    condition(keys, ("is_set", "is_not_set"), st.none()),
    condition(st.just("since"), ("is_date_before", "is_date_after", "is_date_exact"), st.sampled_from(DATES)),
    condition(st.just("version"), ("semver_eq", "semver_gt", "semver_lte", "semver_caret"), st.sampled_from(VERSIONS)),
)
on_persons = (
    on_properties | condition(st.just("distinct_id"), ("exact", "is_not", "icontains"), st.sampled_from(("ann", "h0")))
).map(lambda one: {**one, "type": "person"})
on_groups = (
    on_properties | condition(st.just("$group_key"), ("exact", "is_not"), st.sampled_from(("acme", ["Acme", "b"])))
).map(lambda one: {**one, "type": "group", "group_type_index": 0})
on_cohort = condition(st.just("id"), ("exact", "in", "not_in"), st.just(COHORT)).map(
    lambda one: {**one, "type": "cohort"}
)
percentages = st.none() | st.integers(0, 100) | st.floats(0, 100)
VARIANTS = [{"key": "control", "rollout_percentage": 50}, {"key": "test", "rollout_percentage": 50}]
payloads = st.sampled_from(('{"a": 1}', "[]", '"x"', "7"))
holdouts = st.fixed_dictionaries({"id": st.integers(1, 9), "exclusion_percentage": st.sampled_from((0, 10, 50, 100))})
older_holdouts = st.just([{"properties": [], "rollout_percentage": 30, "variant": "holdout-4"}])
ENROLLED = {"key": "$feature_enrollment/flag", "type": "person", "operator": "exact", "value": ["true"]}


@st.composite
def flag_filters(draw: st.DrawFn) -> dict[str, Any]:
    is_of_groups = draw(st.integers(0, 3)) == 0
    has_variants = draw(st.booleans())
    conditions = on_groups if is_of_groups else on_persons | on_cohort
    group = st.fixed_dictionaries(
        {"properties": st.lists(conditions, max_size=2), "rollout_percentage": percentages},
        optional={"variant": st.sampled_from(("control", "test"))} if has_variants else {},
    )
    filters: dict[str, Any] = {"groups": draw(st.lists(group, min_size=1, max_size=3))}
    if is_of_groups:
        filters["aggregation_group_type_index"] = 0
    if has_variants:
        filters["multivariate"] = {"variants": VARIANTS}
    filters["payloads"] = draw(
        st.dictionaries(st.sampled_from(("control", "test") if has_variants else ("true",)), payloads)
    )
    options = {"holdout": holdouts, "holdout_groups": older_holdouts, "early_exit": st.booleans()}
    if not is_of_groups:
        options["super_groups"] = st.just([{"properties": [ENROLLED]}])
    return filters | draw(st.fixed_dictionaries({}, optional=options))


criteria = st.fixed_dictionaries(
    {
        "type": st.sampled_from(("AND", "OR")),
        "values": st.lists(on_properties.map(lambda one: {**one, "type": "person"}), min_size=1, max_size=2),
    }
)
known = st.fixed_dictionaries(
    {
        "plan": texts | truths | numbers | st.none() | st.just(7.0) | st.just(["Pro"]),
        "size": numbers | texts,
        "amount": numbers,  # evaluators differ from each other about texts in comparisons
        "since": st.sampled_from(MOMENTS),
        "version": st.sampled_from(VERSIONS),
    },
    optional={"$feature_enrollment/flag": st.sampled_from(("true", "false", True))},
)
# A property that is missing makes evaluators ask, so most are there.
PROPERTY_NAMES = {"plan", "size", "amount", "since", "version"}
missing = st.sets(st.sampled_from(sorted(PROPERTY_NAMES)), max_size=1)
properties = st.tuples(known, missing).map(lambda drawn: {k: v for k, v in drawn[0].items() if k not in drawn[1]})


Evaluators = Mapping[str, "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def evaluators() -> Iterator[Evaluators]:
    with ExitStack() as stack:
        yield {
            agent: stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            for agent, command in EVALUATORS.items()
        }


@dataclass(frozen=True)
class Question:
    """A flag, a cohort that it may name, and who asks; the group has the same properties as the person."""

    filters: dict[str, Any]
    criteria: dict[str, Any]
    distinct_id: str
    properties: dict[str, Any]
    has_group: bool

    def is_accepted(self) -> bool:
        try:
            validate_options(self.filters)
            validate_filters(with_enrollment(self.filters))
            validate_payloads(self.filters)
            validate_split(self.filters)
            return read_filters({"properties": self.criteria}) is not None
        except (ValidationFailed, ValueError):
            return False

    def has_one_meaning_for(self, agent: str) -> bool:
        """Whether an evaluator answers, if it does, what it would answer knowing all; these are documented."""
        if None in self.properties.values() and not is_compared(agent):  # older ones read null in ways of their own
            return False
        if agent.startswith("posthog-python/6") and self.searches_truth_values:  # it searches `True` and `False`
            return False
        # Evaluators pass over a condition whose property they do not know, and a later one may give another variant.
        if len(self.filters["groups"]) > 1 and not self.properties.keys() >= PROPERTY_NAMES:
            return False
        # To Python 7.0 is another number than 7.
        if "python" in agent and any(
            isinstance(value, float) and value.is_integer() for value in self.properties.values()
        ):
            return False
        # To this one 7 may be 7.0, and it passes over that condition too.
        compared = [value for key, value in self.properties.items() if key in {"plan", "size"}]
        has_whole_number = any(isinstance(value, int | float) and value == int(value) for value in compared)
        return not (agent.startswith("posthog-node/5") and has_whole_number and len(self.filters["groups"]) > 1)

    @property
    def searches_truth_values(self) -> bool:
        """Whether a regular expression may be searched for in the text of a truth value."""
        conditions = [one for group in self.filters["groups"] for one in group.get("properties", [])]
        searches = any("regex" in str(one.get("operator")) for one in [*conditions, *self.criteria["values"]])
        return searches and any(isinstance(value, bool) for value in self.properties.values())

    def answer_of_the_server(self) -> list[object]:
        """Return the value of the flag, and its payload."""
        cohort = read_filters({"properties": self.criteria})
        assert cohort is not None
        tokens = {name: json.dumps(value).encode() for name, value in self.properties.items()}
        inside = CohortMatcher({COHORT: cohort}, ignores_case=True).cohorts_of(tokens)
        person = {**tokens, "distinct_id": json.dumps(self.distinct_id).encode()}
        company = {**tokens, "$group_key": b'"acme"'}
        context = EvaluationContext(
            self.distinct_id,
            KnownProperties(person, person.keys(), is_stored=True, cohorts=inside),
            groups={0: ("acme", KnownProperties(company, company.keys(), is_stored=True))} if self.has_group else {},
        )
        result = evaluate(prepare(flag_id=1, key="flag", filters=self.filters), context)
        return [result.value, json.loads(result.payload) if result.payload is not None else None]

    def line_for(self, agent: str) -> str:
        defined = definition(
            flag_id=1,
            name="",
            key="flag",
            filters=self.filters,
            active=True,
            deleted=False,
            ensure_experience_continuity=False,
            cohorts={},
            is_compared=is_compared(agent),
        )
        criteria = criteria_for_evaluators(self.criteria)
        definitions = {
            "flags": [defined],
            "group_type_mapping": {"0": "company"},
            "cohorts": {} if criteria is None else {str(COHORT): criteria},
            "property_matching_version": 2,
        }
        question = {
            "definitions": definitions,
            "flags": ["flag"],
            "distinct_id": self.distinct_id,
            "person_properties": self.properties,
            "groups": {"company": "acme"} if self.has_group else {},
            "group_properties": {"company": self.properties} if self.has_group else {},
        }
        return json.dumps(question) + "\n"


questions = st.builds(
    Question, flag_filters(), criteria, st.sampled_from(("ann", "Ann", "h0", "h1")), properties, st.booleans()
)


def ask(evaluators: Evaluators, question: Question) -> dict[str, list[object]]:
    """Return the answers of the evaluators that do not want to ask the server."""
    for agent, process in evaluators.items():
        assert process.stdin is not None
        process.stdin.write(question.line_for(agent))
        process.stdin.flush()
    answers = {}
    for agent, process in evaluators.items():
        assert process.stdout is not None
        answers[agent] = json.loads(process.stdout.readline()).get("flag")
    return {agent: answer for agent, answer in answers.items() if answer is not None}


def test_server_and_evaluators_agree_on_every_flag_that_is_accepted(evaluators: Evaluators) -> None:
    counts: Counter[str] = Counter()

    @settings(max_examples=examples(800))
    @given(questions)
    def agree(question: Question) -> None:
        if not question.is_accepted():
            return
        answers = ask(evaluators, question)
        counts.update(["accepted", *answers])
        answers = {agent: answer for agent, answer in answers.items() if question.has_one_meaning_for(agent)}
        assert answers == dict.fromkeys(answers, question.answer_of_the_server())

    agree()

    assert counts["accepted"] > 5
    assert all(counts[agent] > counts["accepted"] / 4 for agent in EVALUATORS), counts  # the others asked
