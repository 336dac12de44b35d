"""Properties of bounded size, and the work that changing them takes."""

import dataclasses
import datetime as dt
import json
from dataclasses import dataclass, field
from typing import Self
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from app.common import limits
from app.people import properties as module
from app.people.persons import identity
from app.people.persons.identity import IdentityGraph, PersonState
from app.people.properties import Properties, PropertyDocument, read_properties, write_properties

NOW = dt.datetime(2022, 11, 2, tzinfo=dt.UTC)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
documents = st.dictionaries(st.text(max_size=3), values, max_size=6)


def written(document: object) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def limit_of(size: int) -> limits.Limit:
    return dataclasses.replace(limits.PERSON_PROPERTY_BYTES, value=size)


@dataclass
class Event:
    distinct_id: str = "ann"
    alias: str | None = None
    is_merge_forced: bool = True
    set: Properties = field(default_factory=dict)
    set_once: Properties = field(default_factory=dict)
    unset: frozenset[str] = frozenset()
    uuid: UUID = field(default_factory=uuid4)
    time: int = 0
    may_change_person: bool = True
    origin_bytes: int = 0
    writes_profile: bool = True

    @property
    def person_bytes(self) -> int:
        return len(written({**self.set_once, **self.set}))


@given(documents)
def test_properties_are_written_as_they_were_read(document: dict[str, object]) -> None:
    assert json.loads(bytes(write_properties(read_properties(written(document))))) == document


@given(st.lists(documents, max_size=5), st.integers(min_value=2, max_value=200))
def test_document_never_exceeds_its_limit_and_takes_what_fits(sent: list[dict[str, object]], size: int) -> None:
    document = PropertyDocument({}, limit_of(size))
    for changed in sent:
        document.assign_all(read_properties(written(changed)), len(written(changed).encode()))

    text = bytes(write_properties(document.values))
    assert len(text) <= size
    assert document.size == (len(text) if document.values else 1)
    if document.left_out == 0:
        assert json.loads(text) == {key: value for changed in sent for key, value in changed.items()}


@pytest.mark.parametrize(("room", "fits"), [(0, True), (-1, False)])
def test_property_fits_to_the_byte(room: int, fits: object) -> None:
    whole = written({"a": 1, "b": "é"}).encode()
    document = PropertyDocument.read('{"a":1}', limit_of(len(whole) + room))

    assert document.assign("b", "é") is fits
    assert (document.left_out, document.first_left_out) == ((0, []) if fits else (1, ["b"]))


def test_document_has_at_most_the_limit_of_properties(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROPERTIES", dataclasses.replace(limits.PROPERTIES, value=3))
    document = PropertyDocument({"a": 1}, limits.PERSON_PROPERTY_BYTES)

    document.assign_all({"b": 1, "c": 1, "d": 1}, 100)
    document.assign_all({"a": 2}, 100)

    assert document.values == {"a": 2, "b": 1, "c": 1}
    assert document.first_left_out == ["d"]


@pytest.mark.parametrize(("levels", "is_kept"), [(63, True), (65, False)])
@pytest.mark.parametrize("shape", ["[{}]", '["[",{}]', '[1,{},"\\""]', '{{"a":{}}}'])
def test_value_that_is_nested_too_deeply_is_left_out(levels: int, shape: str, *, is_kept: bool) -> None:
    value = "1"
    for _ in range(levels):
        value = shape.format(value)

    properties = read_properties(f'{{"deep":{value},"plan":"free"}}')

    assert properties.keys() == ({"deep", "plan"} if is_kept else {"plan"})


def test_equal_json_does_not_change_a_person_however_it_is_written() -> None:
    person = PersonState(1, uuid4(), read_properties('{"a":{"x":1,"y":"é"}}'), is_identified=False, created_at=NOW)

    person.update(Event(set={"a": Raw(rb'{ "y": "\u00e9", "x": 1 }')}))

    assert not person.changed


def test_each_property_is_measured_a_bounded_number_of_times(monkeypatch: pytest.MonkeyPatch) -> None:
    count, calls = 3_000, 0
    monkeypatch.setattr(identity, "PERSON_PROPERTY_BYTES", limit_of(5_000))
    cost = module._cost

    def counted(*arguments: object) -> int:
        nonlocal calls
        calls += 1
        return cost(*arguments)  # type: ignore[arg-type]  # passed on as they are

    monkeypatch.setattr(module, "_cost", counted)
    graph = IdentityGraph({})
    for number in range(count):
        person = graph.apply(Event(set={f"k{number}": 1}))

    assert person.document.left_out > count / 2
    assert calls < 3 * count


def test_chain_of_merges_copies_each_property_about_once() -> None:
    count, steps = 1_000, 0

    class CountedDocument(PropertyDocument):
        def absorb(self, other: Self) -> None:
            nonlocal steps
            steps += min(len(self.values), len(other.values))
            super().absorb(other)

    graph = IdentityGraph({})
    for number in range(count):
        graph.apply(Event(f"p{number}", set={f"k{number}": number}))
    for state in graph.changes.created:
        state.document = CountedDocument(state.properties, limits.PERSON_PROPERTY_BYTES)
    for number in range(1, count):
        last = graph.apply(Event(f"p{number}", alias=f"p{number - 1}"))

    assert last.properties == {"$creator_event_uuid": last.properties["$creator_event_uuid"]} | {
        f"k{number}": number for number in range(count)
    }
    assert steps < 3 * count
    assert {graph.apply(Event(f"p{number}")) for number in range(count)} == {last}


@pytest.mark.parametrize(("alias", "ids"), [("b", {"a", "b"}), ("new", {"a", "new"})])
@pytest.mark.parametrize("most", [2, 1])
def test_person_has_at_most_the_limit_of_distinct_ids(
    alias: str, ids: set[str], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "DISTINCT_IDS", dataclasses.replace(limits.DISTINCT_IDS, value=most))
    graph = IdentityGraph({})
    graph.apply(Event("a"))
    graph.apply(Event("b"))

    person = graph.apply(Event("a", alias=alias))

    owned = {name for name, owner in graph.changes.distinct_ids.items() if owner.survivor() is person}
    assert owned == (ids if most == 2 else {"a"})
    assert graph.changes.refused == ([] if most == 2 else ["a"])
