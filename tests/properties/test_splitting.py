"""The two parts of a filter, on the event and on its person, are together equivalent to the filter."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.properties.filters import Condition, Conjunction, Disjunction, Group, InvalidFilter, Node
from app.properties.splitting import EVENT_TYPES, Alternative, alternatives

NAMES = ("a", "b", "c")
conditions = st.builds(
    Condition, key=st.sampled_from(NAMES), value=st.just("x"), type=st.sampled_from(["event", "person", "cohort"])
)
nodes: st.SearchStrategy[Node] = st.recursive(
    conditions,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda children: Conjunction(tuple(children))),
        st.lists(inner, max_size=3).map(lambda children: Disjunction(tuple(children))),
    ),
    max_leaves=8,
)
trees = nodes.filter(lambda node: not isinstance(node, Condition))


def truth(node: Node, facts: Mapping[tuple[str, str], bool]) -> bool:
    if isinstance(node, Condition):
        return facts[node.type, node.key]
    answers = [truth(child, facts) for child in node.children]
    return any(answers) if isinstance(node, Disjunction) and answers else all(answers)


@given(
    trees,
    st.fixed_dictionaries({(kind, name): st.booleans() for kind in ("event", "person", "cohort") for name in NAMES}),
)
def test_alternatives_together_are_equivalent_to_the_filter(tree: Group, facts: Mapping[tuple[str, str], bool]) -> None:
    parts = alternatives(tree)

    assert any(truth(one.event, facts) and truth(one.later, facts) for one in parts) == truth(tree, facts)
    assert all(one.event.types <= EVENT_TYPES and not one.later.types & EVENT_TYPES for one in parts)


def test_conjunction_has_one_alternative_at_any_depth() -> None:
    event, person = Condition("a", value=1), Condition("b", value=2, type="person")

    [one] = alternatives(Conjunction((event, Conjunction((event, Conjunction((person,)))))))

    assert one == Alternative(Conjunction((event, event)), Conjunction((person,)))


def test_too_many_combinations_are_refused() -> None:
    def either(number: int) -> Disjunction:
        return Disjunction((Condition(f"e{number}", value=1), Condition(f"p{number}", value=1, type="person")))

    with pytest.raises(InvalidFilter, match="Too many combinations"):
        alternatives(Conjunction(tuple(either(number) for number in range(10))))
