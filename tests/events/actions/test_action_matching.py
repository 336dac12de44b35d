"""The events that steps match, by the matcher that metrics use."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.events.actions.matching import Alternative, alternatives
from app.properties.decoding import PropertyReader
from app.properties.filters import Condition, Conjunction, Disjunction
from app.properties.matcher import compile_filter


def matches(step: Mapping[str, object], **properties: object) -> bool:
    """Whether a page view with these properties fits the step."""
    [alternative] = alternatives([{"event": "$pageview", **step}])
    matcher = compile_filter(alternative.filter)
    return matcher.matches(PropertyReader(matcher.keys).read(json.dumps(properties)))


def is_at(page: object, /, **step: object) -> bool:
    return matches(step, **{"$current_url": page})


@pytest.mark.parametrize("steps", [[], [{}], [{"event": None}], [{"event": ""}], [{"event": None, "url": "/a"}]])
def test_step_without_an_event_matches_nothing(steps: list[dict[str, object]]) -> None:
    assert alternatives(steps) == ()


def test_every_step_with_an_event_is_an_alternative_in_order() -> None:
    steps: list[dict[str, object]] = [{"event": "b"}, {"event": None}, {"event": "a", "properties": []}, {"event": "b"}]

    assert alternatives(steps) == tuple(Alternative(event, Conjunction()) for event in ("b", "a", "b"))


@pytest.mark.parametrize(
    ("step", "url", "fits"),
    [
        ({"url": "/check"}, "https://shop.test/checkout", True),
        ({"url": "/check", "url_matching": "contains"}, "https://shop.test/checkout", True),
        ({"url": "/Check"}, "https://shop.test/checkout", False),
        ({"url": "shop%out"}, "https://shop.test/checkout", True),
        ({"url": "shop%in"}, "https://shop.test/checkout", False),
        ({"url": "sh_p"}, "https://shop.test/", True),
        ({"url": "sho_p"}, "https://shop.test/", False),
        ({"url": r"50\%"}, "/50%off", True),
        ({"url": r"50\%"}, "/500 off", False),
        ({"url": r"a\_b"}, "/axb", False),
        ({"url": "a.b"}, "/axb", False),
        ({"url": "a.b?c=(1)"}, "/a.b?c=(1)", True),
        ({"url": "ü%é"}, "/ü\u2028é", True),
        ({"url": "a%b", "url_matching": "exact"}, "a%b", True),
        ({"url": "/a", "url_matching": "exact"}, "/a/b", False),
        ({"url": "2.5", "url_matching": "exact"}, "2.5", True),
        ({"url": "true", "url_matching": "exact"}, "true", True),
        ({"url": "^/a/\\d+$", "url_matching": "regex"}, "/a/12", True),
        ({"url": "^/a/\\d+$", "url_matching": "regex"}, "/a/b", False),
        ({"url": "A", "url_matching": "regex"}, "/a", False),
        ({"url": ""}, "/a", True),
        ({"url": None, "url_matching": "regex"}, "/a", True),
        ({"url": "a", "url_matching": None}, "/a", True),
        ({"url": "a"}, None, False),
        ({"url": "nul"}, None, True),
    ],
)
def test_page_is_compared_as_its_step_says(step: dict[str, object], url: object, *, fits: bool) -> None:
    assert is_at(url, **step) is fits


def test_event_without_a_page_fits_no_step_that_asks_for_one() -> None:
    assert not matches({"url": "a"})
    assert matches({"url": "%"})  # any text, also the empty one


def like(pattern: str, text: str) -> bool:
    """LIKE by its definition, for patterns without backslashes."""
    if not pattern:
        return not text
    if pattern[0] == "%":
        return any(like(pattern[1:], text[start:]) for start in range(len(text) + 1))
    return bool(text) and pattern[0] in {"_", text[0]} and like(pattern[1:], text[1:])


characters = st.sampled_from("aA.%_*é\n[")


@given(st.text(characters, min_size=1, max_size=6), st.text(characters.filter(lambda c: c != "\n"), max_size=8))
def test_contains_is_like_with_live_wildcards(fragment: str, url: str) -> None:
    assert is_at(url, url=fragment) is like(f"%{fragment}%", url)


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters='"\\'), min_size=1, max_size=400))
def test_page_is_found_by_any_text_in_it(text: str) -> None:
    assert is_at(f"https://{text}#", url=text)
    assert is_at(text, url=text, url_matching="exact")


def test_properties_and_page_must_both_hold() -> None:
    step = {
        "url": "/a",
        "properties": {"type": "OR", "values": [{"key": "plan", "value": "pro"}, {"key": "plan", "value": "team"}]},
    }

    assert matches(step, plan="team", **{"$current_url": "/a"})
    assert not matches(step, plan="free", **{"$current_url": "/a"})
    assert not matches(step, plan="team", **{"$current_url": "/b"})


ELEMENT: dict[str, Any] = {"tag_name": "a", "text": "Buy", "href": "/cart", "selector": ".buy > a"}


def test_element_conditions_apply_to_autocaptured_events_only() -> None:
    filters = [
        alternative.filter
        for alternative in alternatives([{"event": e, **ELEMENT} for e in ("$autocapture", "$pageview")])
    ]

    assert filters == [
        Conjunction(
            (
                Condition("tag_name", "exact", "a", "element"),
                Condition("text", "exact", "Buy", "element"),
                Condition("href", "exact", "/cart", "element"),
                Condition("selector", "exact", ".buy > a", "element"),
            )
        ),
        Conjunction(),
    ]


@pytest.mark.parametrize(
    ("matching", "operator"), [("contains", "icontains"), ("regex", "regex"), ("exact", "exact"), (None, "exact")]
)
def test_texts_and_links_of_elements_are_compared_as_their_step_says(matching: str | None, operator: Any) -> None:
    step = {"event": "$autocapture", "text": "Buy", "text_matching": matching, "href": "b", "href_matching": matching}

    [alternative] = alternatives([step])

    assert alternative.filter == Conjunction(
        (Condition("text", operator, "Buy", "element"), Condition("href", operator, "b", "element"))
    )


def test_properties_keep_their_types() -> None:
    properties = [{"key": "id", "type": "cohort", "value": 3}, {"key": "plan", "type": "person", "value": "pro"}]

    [alternative] = alternatives([{"event": "a", "properties": properties}])

    assert alternative.filter.types == {"cohort", "person"}
    assert not isinstance(alternative.filter, Disjunction)
