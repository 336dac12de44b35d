"""The forms of a request for flags."""

import base64
import contextlib
import gzip
import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.common import limits
from app.common.errors import ParseError, ValidationFailed
from app.flags.evaluation.decoding import FlagsRequest, decode_flags_payload, decode_flags_request
from app.http.forms import parse_url_encoded
from app.sdk.payloads import SdkRequest, has_known_signature
from tests.flags.evaluation.asking import EVERYBODY, HALVES, create_flag, values
from tests.support.service import Service

pytestmark = pytest.mark.one_database

PLAIN, FORM = False, True
ANN: dict[str, Any] = {"token": "phc_1", "distinct_id": "ann"}


def sent(body: bytes, *, is_form: bool = PLAIN, query: dict[str, str] | None = None) -> SdkRequest:
    form = {**parse_url_encoded(body)} if is_form and not has_known_signature(body) else {}
    return SdkRequest("POST", query or {}, form, body, content_encoding="")


def read(sdk_request: SdkRequest) -> FlagsRequest:
    return decode_flags_request(decode_flags_payload(sdk_request), sdk_request.form)


def decode(document: object) -> FlagsRequest:
    return read(sent(json.dumps(document).encode()))


def armored(document: object) -> str:
    return base64.b64encode(json.dumps(document).encode()).decode()


@pytest.mark.parametrize(
    ("body", "is_form", "query"),
    [
        (json.dumps(ANN).encode(), PLAIN, {}),
        (gzip.compress(json.dumps(ANN).encode(), mtime=0), PLAIN, {}),
        (gzip.compress(json.dumps(ANN).encode(), mtime=0), FORM, {"compression": "gzip-js"}),
        (json.dumps(ANN).encode(), FORM, {}),  # ``curl -d``
        (armored(ANN).encode(), PLAIN, {}),
        (armored(ANN).rstrip("=").encode(), PLAIN, {}),
        (f"data={quote(armored(ANN))}".encode(), FORM, {}),
        (f"data={armored(ANN)}".encode(), FORM, {"compression": "base64"}),
        (f"data={quote(json.dumps(ANN))}".encode(), FORM, {}),
        (f"token=phc_1&data={armored({'distinct_id': 'ann'})}".encode(), FORM, {}),
        (b"", PLAIN, {"data": armored(ANN)}),
    ],
)
def test_request_is_json_plain_or_in_base64_or_gzip_in_the_body_a_form_or_the_query(
    body: bytes, is_form: bool, query: dict[str, str]
) -> None:
    asked = read(sent(body, is_form=is_form, query=query))

    assert (asked.token, asked.distinct_id) == ("phc_1", "ann")


@pytest.mark.parametrize(
    "document",
    [
        {"api_key": "phc_1"},
        {"$token": "phc_1", "token": "phc_2"},
        {"token": "phc_1", "api_key": "phc_2"},
        {"token": None, "api_key": "phc_1"},
        {"token": " phc_1\n"},
        {"properties": {"token": "phc_1"}},
    ],
)
def test_token_has_several_names(document: dict[str, object]) -> None:
    assert decode(document).token == "phc_1"  # noqa: S105


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("ann", "ann"),
        ("", ""),
        (1, "1"),
        (1.5, "1.5"),
        (True, "true"),
        ({"a": 1}, '{"a": 1}'),
        (None, None),
        ("nul\0", "nul\N{REPLACEMENT CHARACTER}"),
        ("half \ud83e", "half \N{REPLACEMENT CHARACTER}"),
    ],
)
def test_identifiers_become_text(sent: object, read: str | None) -> None:
    assert decode({"distinct_id": sent}).distinct_id == read
    assert decode({"$distinct_id": sent}).distinct_id == read


def test_groups_and_properties_are_read_under_all_their_names() -> None:
    asked = decode(
        {
            **ANN,
            "$groups": {"company": 5, "team": None},
            "$properties": {"country": "NL"},
            "$group_properties": {"company": {"size": 7}},
        }
    )

    assert asked.groups == {"company": "5"}
    assert asked.person_properties == {"country": b'"NL"'}
    assert asked.group_properties == {"company": {"size": b"7"}}


@pytest.mark.parametrize("nothing", [None, [], "text", 7])
def test_values_other_than_objects_have_no_members(nothing: object) -> None:
    names = ("groups", "person_properties", "group_properties")

    assert decode({**ANN, **dict.fromkeys(names, nothing)}) == decode(ANN)
    assert decode({**ANN, "group_properties": {"company": nothing}}).group_properties == {"company": {}}


def test_lenient_json_is_read() -> None:
    body = b'{"token": "phc_1", "distinct_id": "\\ud800", "person_properties": {"a": NaN, "\\ud800": 1, "b": "\xff"}}'

    asked = read(sent(body))

    assert asked.distinct_id == "\N{REPLACEMENT CHARACTER}"
    assert asked.person_properties["a"] == b"null"
    assert json.loads(asked.person_properties["b"]) == "\N{REPLACEMENT CHARACTER}"


async def test_characters_that_old_browsers_send_in_two_halves_name_the_same_person(service: Service) -> None:
    await create_flag(service, filters={**EVERYBODY, "multivariate": HALVES})
    document = json.dumps({**ANN, "token": service.token, "distinct_id": "\ud83e\udd94"}, ensure_ascii=False)
    data = base64.b64encode(document.encode("utf-8", "surrogatepass")).decode()

    response = await service.client.post("/decide/?v=2", data={"data": data})

    assert response.json()["featureFlags"] == {"beta-feature": "control"} == await values(service, "🦔")


def test_name_with_half_of_a_character_does_not_hide_the_others() -> None:
    asked = read(sent(b'{"groups": {"\\ud800": "a", "b": "\\ud800"}}'))

    assert asked.groups["b"] == "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b'["a"]', b'"text"', b"no base64!", b"data=%ff", b"\x1f\x8b\x00", b"[" * 100_000, b'{"a":' * 5_000],
)
async def test_unreadable_request_is_refused(service: Service, body: bytes) -> None:
    for path in ("/decide/?v=2", "/flags/?v=2"):
        response = await service.client.post(path, content=body, headers={"Content-Type": "text/plain"})

        assert (response.status_code, response.json()["code"]) == (400, "malformed_data"), response.text
        assert response.json()["detail"].startswith("Malformed request data: ")


async def test_request_that_is_too_large_is_refused(service: Service) -> None:
    large = b" " * (limits.FLAGS_REQUEST_BYTES.value + 1)
    for body in (large, gzip.compress(large)):
        response = await service.client.post("/flags/?v=2", content=body)

        assert (response.status_code, response.json()["code"]) == (413, "request_too_large")


@pytest.mark.parametrize("field", ["distinct_id", "$anon_distinct_id", "token"])
def test_field_that_holds_a_text_has_at_most_the_limit_of_bytes(field: str) -> None:
    def ask(size: int) -> FlagsRequest:
        return decode({**ANN, field: ["x" * (size - len('[""]'))]})

    assert ask(limits.EVENT_FIELD_BYTES.value).token
    with pytest.raises(ValidationFailed) as refusal:
        ask(limits.EVENT_FIELD_BYTES.value + 1)
    assert refusal.value.code == "malformed_data"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda members: st.lists(members, max_size=3) | st.dictionaries(st.text(st.characters()), members, max_size=3),
    max_leaves=10,
)
names = st.sampled_from(
    [
        "token", "$token", "distinct_id", "$anon_distinct_id", "groups", "person_properties", "group_properties",
        "properties", "flag_keys", "flag_keys_to_evaluate", "disable_flags",
    ]
)  # fmt: skip


@given(st.dictionaries(names, json_values) | json_values)
def test_whatever_json_is_sent_is_read_or_refused(document: object) -> None:
    if not isinstance(document, dict):
        with pytest.raises(ValidationFailed, match="Malformed request data"):
            decode(document)
        return
    asked = decode(document)
    assert isinstance(asked.distinct_id, str | None)
    assert all(isinstance(key, str) for key in asked.groups.values())


@given(st.binary(), st.booleans())
def test_whatever_bytes_are_sent_are_read_or_refused(body: bytes, is_form: bool) -> None:
    with contextlib.suppress(ValidationFailed, ParseError):
        read(sent(body, is_form=is_form))


@pytest.mark.parametrize(
    "members",
    [
        {"distinct_id": "nul\0", "$anon_distinct_id": "nul\0"},
        {"distinct_id": "a" * 5_000, "$anon_distinct_id": "b" * 5_000},
        {"distinct_id": "\ud800", "$anon_distinct_id": "\ud800", "groups": {"\ud800": "\ud800"}},
        {"distinct_id": 10**400, "person_properties": {"country": 10**400}},
        {"distinct_id": [[[]]], "$anon_distinct_id": {"a": 1}, "flag_keys": [None, 1, {}]},
    ],
)
async def test_hostile_flag_requests_cause_no_server_error(service: Service, members: dict[str, Any]) -> None:
    condition = {"key": "country", "value": "1", "operator": "gt", "type": "person"}
    await create_flag(service, filters={"groups": [{"properties": [condition]}]}, ensure_experience_continuity=True)
    await service.capture({"event": "visit", "distinct_id": "ann"})

    for path in ("/flags/?v=2", "/decide/?v=3"):
        response = await service.client.post(path, content=json.dumps({"token": service.token, **members}))

        assert response.status_code == 200, response.text
