"""Form bodies, whose document fields contain JSON as text."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from unittest import mock
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.common import limits
from app.http import forms
from tests.support.service import FUNNEL, Service

pytestmark = pytest.mark.one_database

PATH = "/experiments/"
FIELDS = {
    "name": " Größe ",
    "feature_flag_key": "checkout",
    "filters": json.dumps(FUNNEL),
    "parameters": '{"recommended_sample_size": 1500}',
    "secondary_metrics": "null",
    "description": "",
    "start_date": "",
    "end_date": "",
    "archived": "on",
}
BOUNDARY = "multipart/form-data; boundary=x"


def part(name: str, value: str, more: str = "") -> str:
    return f'--x\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{value}\r\n'


def multipart(fields: dict[str, str]) -> bytes:
    return ("".join(part(name, value) for name, value in fields.items()) + "--x--\r\n").encode()


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", BOUNDARY])
async def test_experiment_can_be_created_and_changed_by_a_form(service: Service, content_type: str) -> None:
    encode = multipart if content_type == BOUNDARY else lambda fields: urlencode(fields).encode()
    headers = {"Content-Type": content_type}

    created = await service.request("POST", PATH, content=encode(FIELDS), headers=headers)
    path = f"{PATH}{created.json()['id']}/"
    shorter = {"filters": "{}", "parameters": "null", "start_date": "2022-11-01 00:00"}
    patched = await service.request("PATCH", path, content=encode(shorter), headers=headers)
    required = {"name": "New", "feature_flag_key": "checkout"}
    put = await service.request("PUT", path, content=encode(required), headers=headers)

    expected = {
        "name": "Größe",
        "description": "",
        "start_date": None,
        "end_date": None,
        "feature_flag_key": "checkout",
        "filters": FUNNEL,
        "parameters": {"recommended_sample_size": 1500},
        "secondary_metrics": None,
        "archived": True,
    }
    assert created.status_code == 201, created.text
    assert created.json() == {**created.json(), **expected}
    expected |= {"filters": {}, "parameters": None, "start_date": "2022-11-01T00:00:00Z"}
    assert patched.json() == {**patched.json(), **expected}
    expected |= {"name": "New", "archived": False}  # a box that was not ticked is not sent
    assert put.json() == {**put.json(), **expected}


@pytest.mark.parametrize(
    ("field", "value", "code", "detail"),
    [
        ("filters", "", "invalid_input", "Value must be valid JSON."),
        ("filters", "{", "invalid_input", "Value must be valid JSON."),
        ("filters", '{"a": NaN}', "invalid_input", "Value must be valid JSON."),
        ("filters", "[" * 40_000, "invalid_input", "Value must be valid JSON."),
        ("filters", "null", "null", "This field may not be null."),
        ("parameters", "", "invalid_input", "Value must be valid JSON."),
        ("secondary_metrics", "name=x", "invalid_input", "Value must be valid JSON."),
        ("name", "", "blank", "This field may not be blank."),
        ("name", "a\0b", "null_characters_not_allowed", "Null characters are not allowed."),
        ("archived", "perhaps", "invalid_input", "Must be a valid boolean."),
    ],
)
async def test_bad_field_is_named(service: Service, field: str, value: str, code: str, detail: str) -> None:
    response = await service.request("POST", PATH, data={**FIELDS, field: value})

    assert response.status_code == 400
    assert response.json() == {"type": "validation_error", "code": code, "detail": detail, "attr": field}


async def test_form_fields_under_a_json_header_are_refused_with_advice(service: Service) -> None:
    response = await service.request(
        "POST",
        PATH,
        content=b"name=string&feature_flag_key=string",
        headers={"Content-Type": "application/json"},
    )

    assert response.status_code == 400
    assert response.json() == {
        "type": "invalid_request",
        "code": "parse_error",
        "detail": "JSON parse error - Expecting value: line 1 column 1 (char 0); the body looks like form fields:"
        " send JSON, or name its type application/x-www-form-urlencoded",
        "attr": None,
    }


@pytest.mark.parametrize(
    ("content_type", "body", "detail"),
    [
        ("multipart/form-data", multipart(FIELDS), "Multipart form parse error - Missing boundary in multipart."),
        ("multipart/form-data; boundary=", multipart(FIELDS), "Multipart form parse error - "),
        (f"multipart/form-data; boundary={'x' * 5000}", multipart(FIELDS), "Multipart form parse error - "),
        (f"{BOUNDARY}; charset=hex", multipart(FIELDS), None),
        (f"{BOUNDARY}; charset=undefined", multipart(FIELDS), None),
        # Decoding it as punycode takes time that grows with the square of its length: minutes for this one.
        (f"{BOUNDARY}; charset=punycode", multipart({**FIELDS, "name": "a" * 400_000 + "-" + "a9" * 400_000}), None),
        (BOUNDARY, b"--y", "Multipart form parse error - "),
        (BOUNDARY, b"--x\r\n\r\n\r\n--x--", "Multipart form parse error - "),
        (BOUNDARY, multipart(FIELDS)[:-10], None),
        (
            BOUNDARY,
            (part("a", "", '; filename="a"') + "--x--").encode(),
            "Multipart form parse error - Too many files.",
        ),
        (BOUNDARY, multipart({f"{n}": "" for n in range(1001)}), "Multipart form parse error - Too many fields."),
        ("application/x-www-form-urlencoded", b"a&" * 1001, "Form parse error - more than 1000 fields"),
        ("application/x-www-form-urlencoded", b"name=\xff", "Form parse error - invalid start byte at byte 5"),
        ("application/x-www-form-urlencoded", b"name=%ff%00&=&==&&%", None),
    ],
)
async def test_malformed_form_is_refused(service: Service, content_type: str, body: bytes, detail: str | None) -> None:
    response = await service.request("POST", PATH, content=body, headers={"Content-Type": content_type})

    assert response.status_code in ((201, 400) if detail is None else (400,)), response.text
    if detail is not None:
        assert response.json()["code"] == "parse_error"
        assert response.json()["detail"].startswith(detail)


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", BOUNDARY])
async def test_form_has_the_limit_of_values_of_other_bodies(service: Service, content_type: str) -> None:
    encode = multipart if content_type == BOUNDARY else lambda fields: urlencode(fields).encode()
    fields = {"filters": "[", "parameters": "," * limits.BODY_VALUES.value}

    response = await service.request("POST", PATH, content=encode(fields), headers={"Content-Type": content_type})

    assert (response.status_code, response.json()["detail"]) == (413, limits.BODY_VALUES.detail)


@given(
    st.lists(st.sampled_from(["%", "4", "1", "a", "&", "=", "+", "é", "%C3", "%A9", "%ff", "😀", "%00"])).map("".join)
)
def test_form_is_decoded_in_slices_as_in_one_piece(text: str) -> None:
    expected = dict(parse_qsl(text, keep_blank_values=True))
    whole = forms.parse_url_encoded(text.encode())
    with mock.patch.object(forms, "_SLICE_BYTES", 4):
        sliced = forms.parse_url_encoded(text.encode())

    assert whole == sliced == expected


@pytest.mark.parametrize(
    "work",
    [
        lambda: forms.read_url_encoded(b"name=" + b"%41a" * 500_000),
        lambda: forms.parse_multipart(b"".join(part("a", "").encode() for _ in range(1000)) + b"--x--\r\n", BOUNDARY),
    ],
)
async def test_large_form_is_decoded_between_other_requests(work: Callable[[], Awaitable[object]]) -> None:
    decoding = asyncio.ensure_future(work())
    turns = 0
    while not decoding.done():
        await asyncio.sleep(0)
        turns += 1

    assert turns > 3
    await decoding


async def test_form_field_may_be_as_large_as_a_document(service: Service) -> None:
    metrics = json.dumps([{"name": "x" * 200_000}])

    response = await service.request(
        "POST", PATH, content=multipart({**FIELDS, "secondary_metrics": metrics}), headers={"Content-Type": BOUNDARY}
    )

    assert response.status_code == 201
    assert response.json()["secondary_metrics"] == json.loads(metrics)
