"""Which events belong to a series, and what facts keep of them."""

from app.metrics.facts.matching import NO_NUMBER, Match, SeriesMatcher
from app.metrics.facts.series import EventSource, SeriesDefinition
from app.properties.filters import parse_filter

ANY = parse_filter(None)


def source(name: str | None, **conditions: object) -> EventSource:
    return EventSource(name, parse_filter([{"key": key, "value": value} for key, value in conditions.items()]))


def sequences(definition: SeriesDefinition, *events: tuple[str, str]) -> list[int]:
    rows = [(number, 7, 0, name, properties) for number, (name, properties) in enumerate(events, start=1)]
    return [match.sequence for match in SeriesMatcher(definition).match(rows)]


def test_event_belongs_once_if_any_source_matches() -> None:
    definition = SeriesDefinition((source("a", x="1"), source("a", y="1"), source("b"), source(None, z="1")), None)

    found = sequences(
        definition,
        ("a", '{"x": 1, "y": 1}'),
        ("a", '{"y": "1"}'),
        ("a", '{"y": 2}'),
        ("b", "{}"),
        ("c", "{}"),
        ("c", '{"z": 1}'),
    )

    assert found == [1, 2, 4, 6]
    assert definition.names is None


def test_series_without_sources_is_empty() -> None:
    assert sequences(SeriesDefinition((), "v"), ("a", "{}")) == []


def test_digest_is_independent_of_order_of_sources() -> None:
    one = SeriesDefinition((source("a", x="1"), source("b")), "v")
    same = SeriesDefinition((source("b"), source("a", x="1"), source("b")), "v")
    others = [
        SeriesDefinition((source("a", x="1"), source("b")), "v", actor_property="$group_0"),
        SeriesDefinition((source("a", x="1"), source("b")), "v", actor_property="$group_0", actor_required=True),
        SeriesDefinition((source("a"), source("b", x="1")), "v"),
    ]

    assert one.digest == same.digest
    assert len({one.digest, *(other.digest for other in others)}) == 4


def test_property_is_found_under_escaped_key() -> None:
    matcher = SeriesMatcher(SeriesDefinition((source("a"),), "$feature/x"))
    texts = ['{"$feature/x": "test"}', r'{"$feature\/x": "test"}', r'{"\u0024feature/x": "test"}', '{"other": 1}']

    found = list(matcher.match([(1, 7, 0, "a", text) for text in texts]))

    assert [match.variant for match in found] == ["test", "test", "test", ""]
    assert found[0] == Match(1, 7, 0, NO_NUMBER, "test", None)


def test_event_without_required_actor_is_left_out() -> None:
    texts = ['{"$group_0": "acme"}', '{"$group_0": ""}', "{}", '{"$group_0": 5}']
    rows = [(1, 7, 0, "a", text) for text in texts]

    required = SeriesMatcher(SeriesDefinition((source("a"),), None, None, "$group_0", actor_required=True))
    optional = SeriesMatcher(SeriesDefinition((source("a"),), None, None, "$group_0"))

    assert [match.actor for match in required.match(rows)] == ["acme", "5"]
    assert [match.actor for match in optional.match(rows)] == ["acme", "", "", "5"]
