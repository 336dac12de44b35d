"""The rules of single fields, which are checked before any query."""

import datetime as dt
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.common.errors import ValidationFailed
from app.common.ids import MAX_ID, read_id
from app.common.storable_json import is_storable_json
from app.common.timestamps import parse_moment
from app.experiments.schemas import ExperimentCreate, ExperimentUpdate
from app.http.request_body import parse_json, validate

REQUIRED = {"name": "Checkout button", "feature_flag_key": "checkout", "filters": {"insight": "FUNNELS"}}

NOT_TEXT = "Not a valid string."
NOT_JSON = "Value must be valid JSON."
NOT_OBJECT = "Expected a dictionary of items."
NULL = "This field may not be null."
TOO_LONG = "Ensure this field has no more than 400 characters."
BAD_BOOLEAN = "Must be a valid boolean."
BAD_FILTERS = "Filters are not valid"
BAD_VARIANTS = "Feature flag variants must be a list of objects with key and rollout_percentage"
BAD_MOMENT = (
    "Datetime has wrong format. Use one of these formats instead: YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z]."
)


def nested(levels: int) -> object:
    document: object = 1
    for _ in range(levels):
        document = [document]
    return document


def variants(*given: object) -> dict[str, object]:
    return {"feature_flag_variants": list(given)}


def variant(key: str, share: object) -> dict[str, object]:
    return {"key": key, "rollout_percentage": share}


REFUSED = [
    ("name", None, "null", NULL),
    ("name", " \t", "blank", "This field may not be blank."),
    ("name", "x" * 401, "max_length", TOO_LONG),
    ("name", True, "invalid_input", NOT_TEXT),
    ("name", ["x"], "invalid_input", NOT_TEXT),
    ("name", float("nan"), "invalid_input", NOT_TEXT),
    ("name", float("inf"), "invalid_input", NOT_TEXT),
    ("name", 10**4000, "max_length", TOO_LONG),
    ("name", "a\0b", "null_characters_not_allowed", "Null characters are not allowed."),
    ("name", "a\ud800b", "invalid_input", NOT_TEXT),
    ("description", {}, "invalid_input", NOT_TEXT),
    ("description", "x" * 401, "max_length", TOO_LONG),
    ("start_date", "2022-11-01", "invalid_input", BAD_MOMENT),
    ("start_date", 1667260800, "invalid_input", BAD_MOMENT),
    ("start_date", True, "invalid_input", BAD_MOMENT),
    ("start_date", "99999-01-01T00:00:00Z", "invalid_input", BAD_MOMENT),
    ("end_date", "", "invalid_input", BAD_MOMENT),
    ("end_date", "2022-02-30T00:00:00Z", "invalid_input", BAD_MOMENT),
    ("feature_flag_key", None, "null", NULL),
    ("feature_flag_key", "", "blank", "This field may not be blank."),
    ("parameters", "text", "invalid_input", NOT_OBJECT),
    ("parameters", [1], "invalid_input", NOT_OBJECT),
    ("parameters", False, "invalid_input", NOT_OBJECT),
    ("parameters", {"feature_flag_variants": {}}, "invalid_input", BAD_VARIANTS),
    ("parameters", variants("control"), "invalid_input", BAD_VARIANTS),
    ("parameters", variants({"rollout_percentage": 100}), "invalid_input", BAD_VARIANTS),
    ("parameters", variants({"key": "control"}), "invalid_input", BAD_VARIANTS),
    ("parameters", variants({"key": 1, "rollout_percentage": 100}), "invalid_input", BAD_VARIANTS),
    ("parameters", variants(variant("control", "100")), "invalid_input", BAD_VARIANTS),
    ("parameters", variants({"key": "control", "rollout_percentage": True}), "invalid_input", BAD_VARIANTS),
    ("parameters", variants(variant("control", None)), "invalid_input", BAD_VARIANTS),
    ("parameters", variants(variant("control", -1), variant("test", 101)), "invalid_input", BAD_VARIANTS),
    ("parameters", variants(variant("control", 10**400)), "invalid_input", BAD_VARIANTS),
    (
        "parameters",
        variants(*(variant(f"test-{number}", 9) for number in range(11))),
        "invalid_input",
        "Feature flag variants must be less than 11",
    ),
    (
        "parameters",
        variants(variant("test", 100)),
        "invalid_input",
        "Feature flag variants must contain a control variant",
    ),
    (
        "parameters",
        variants(variant("control", 50), variant("control", 50)),
        "invalid_input",
        "Feature flag variants must have different keys",
    ),
    ("parameters", {"size": float("inf")}, "invalid_input", NOT_JSON),
    ("secondary_metrics", ["a\0b"], "invalid_input", NOT_JSON),
    ("secondary_metrics", [{"a\ud800b": 1}], "invalid_input", NOT_JSON),
    ("secondary_metrics", nested(66), "invalid_input", NOT_JSON),
    ("filters", None, "null", NULL),
    ("filters", "text", "invalid_input", NOT_OBJECT),
    ("filters", [REQUIRED], "invalid_input", NOT_OBJECT),
    ("filters", {"events": [float("nan")]}, "invalid_input", NOT_JSON),
    ("filters", {"properties": {}}, "invalid_input", BAD_FILTERS),
    ("filters", {"properties": ["country"]}, "invalid_input", BAD_FILTERS),
    ("filters", {"properties": [{"key": "country", "type": "person"}]}, "invalid_input", BAD_FILTERS),
    ("filters", {"properties": [{"value": "NL", "type": "person"}]}, "invalid_input", BAD_FILTERS),
    ("filters", {"aggregation_group_type_index": "0"}, "invalid_input", BAD_FILTERS),
    ("filters", {"aggregation_group_type_index": True}, "invalid_input", BAD_FILTERS),
    ("archived", None, "null", NULL),
    ("archived", "perhaps", "invalid_input", BAD_BOOLEAN),
    ("archived", 2, "invalid_input", BAD_BOOLEAN),
    ("archived", [], "invalid_input", BAD_BOOLEAN),
    ("archived", float("nan"), "invalid_input", BAD_BOOLEAN),
]


@pytest.mark.parametrize("model", [ExperimentCreate, ExperimentUpdate])
@pytest.mark.parametrize(("field", "value", "code", "detail"), REFUSED)
def test_field_that_breaks_a_rule_is_refused_by_name(
    model: type[ExperimentCreate | ExperimentUpdate], field: str, value: object, code: str, detail: str
) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        validate(model, {**REQUIRED, field: value})

    assert (refusal.value.attr, refusal.value.code, refusal.value.detail) == (field, code, detail)


# Each one is at fault in both models.
FAULTS_IN_ORDER: dict[str, object] = {
    "name": "",
    "description": [],
    "start_date": "soon",
    "end_date": "late",
    "feature_flag_key": None,
    "parameters": "text",
    "secondary_metrics": "\0",
    "filters": None,
    "archived": 2,
}


@pytest.mark.parametrize("model", [ExperimentCreate, ExperimentUpdate])
@pytest.mark.parametrize("first", range(len(FAULTS_IN_ORDER)))
def test_first_invalid_field_is_reported_for_any_order_of_the_body(
    model: type[ExperimentCreate | ExperimentUpdate], first: int
) -> None:
    fields = list(FAULTS_IN_ORDER)
    body = {name: FAULTS_IN_ORDER[name] for name in reversed(fields[first:])}

    with pytest.raises(ValidationFailed) as refusal:
        validate(model, {**body, **{name: value for name, value in REQUIRED.items() if name not in body}})

    assert refusal.value.attr == fields[first]


@pytest.mark.parametrize("name", ["name", "feature_flag_key"])
def test_new_experiment_needs_a_name_and_a_key(name: str) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        validate(ExperimentCreate, {field: value for field, value in REQUIRED.items() if field != name})

    assert (refusal.value.attr, refusal.value.code, refusal.value.detail) == (
        name,
        "required",
        "This field is required.",
    )


@pytest.mark.parametrize(
    ("given", "kept"),
    [(5, "5"), (1.5, "1.5"), ("  Checkout\n", "Checkout"), ("é😀" * 200, "é😀" * 200), ("x" * 400 + "  ", "x" * 400)],
)
def test_names_are_trimmed_text(given: object, kept: str) -> None:
    assert validate(ExperimentCreate, {**REQUIRED, "name": given}).name == kept


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        *((value, True) for value in (True, 1, "t", "Y", "yes", "On", "TRUE", "1")),
        *((value, False) for value in (False, 0, "f", "N", "no", "Off", "FALSE", "0")),
    ],
)
def test_booleans_may_be_written_in_many_ways(given: object, *, meant: bool) -> None:
    assert validate(ExperimentCreate, {**REQUIRED, "archived": given}).archived is meant


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2022-11-01T00:00:00Z", (2022, 11, 1)),
        ("2022-11-01 00:00", (2022, 11, 1)),
        ("2022-11-01T02:30:00+02:30", (2022, 11, 1)),
        ("2022-11-01T02:00+0200", (2022, 11, 1)),
        ("2022-10-31T22:00-02", (2022, 11, 1)),
        ("2022-11-01T00:00:07.5Z", (2022, 11, 1, 0, 0, 7, 500000)),
        ("2022-11-01T00:00:07.123456789Z", (2022, 11, 1, 0, 0, 7, 123456)),
        ("2022-11-01", None),
        ("2022-11-01T00", None),
        ("2022-11-01T00:00:00+2", None),
        ("2022-11-01T00:00:00+99:99", None),
        ("2022-11-01T24:00:00Z", None),
        ("2022-13-01T00:00:00Z", None),
        ("1899-12-31T00:00:00Z", None),
        ("2201-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("9999-12-31T23:59:59-14:00", None),
    ],
)
def test_times_are_read_in_the_documented_forms(text: str, moment: tuple[int, ...] | None) -> None:
    expected = None
    if moment is not None:
        year, month, day, hour, minute, second, microsecond = (*moment, 0, 0, 0, 0)[:7]
        expected = dt.datetime(year, month, day, hour, minute, second, microsecond, dt.UTC)

    assert parse_moment(text) == expected


@given(
    st.datetimes(
        min_value=dt.datetime(1901, 1, 1),  # Hypothesis adds the zone
        max_value=dt.datetime(2199, 12, 31),
        timezones=st.timedeltas(dt.timedelta(hours=-23), dt.timedelta(hours=23)).map(
            lambda offset: dt.timezone(dt.timedelta(minutes=offset // dt.timedelta(minutes=1)))
        ),
    )
)
def test_time_written_in_any_zone_is_read_back(moment: dt.datetime) -> None:
    assert parse_moment(moment.isoformat()) == moment


json_documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=()), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(json_documents)
def test_storable_json_is_strict_json_without_nul(document: object) -> None:
    try:
        text = json.dumps(document, allow_nan=False, ensure_ascii=False)
        text.encode()
    except ValueError:
        travels = False
    else:
        travels = "\\u0000" not in text.replace("\\\\", "")

    assert is_storable_json(document) is travels


@given(json_documents)
def test_written_json_is_read_back(document: object) -> None:
    text = json.dumps(document)

    assert json.dumps(parse_json(text.encode())) == text


@pytest.mark.parametrize(("levels", "storable"), [(64, True), (65, False), (800, False)])
def test_documents_may_be_64_levels_deep(levels: int, *, storable: bool) -> None:
    assert is_storable_json(nested(levels)) is storable


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1),
        ("01", 1),
        (str(MAX_ID), MAX_ID),
        (str(MAX_ID + 1), 0),
        (str(2**63), 0),
        ("9" * 5000, 0),
        ("0", 0),
        ("-1", 0),
        ("-" + "9" * 5000, 0),
        *((text, None) for text in ("", "-", "+1", " 1", "1_0", "1.0", "1e3", "0x1", "\u0661", "1\0", "one")),
    ],
)
def test_ids_in_paths_are_plain_numbers_within_the_range_of_ids(text: str, number: int | None) -> None:
    assert read_id(text) == number
