"""Extraction of the JSON payload from requests of SDKs."""

import base64
import contextlib
import functools
import gzip
import random
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.common import limits
from app.common.errors import AppError, PayloadTooLarge, ValidationFailed
from app.sdk import lz_string
from app.sdk.payloads import SdkRequest, decode_payload
from app.sdk.requests import unpack_small
from tests.sdk.lz_encoding import compress

BROKEN = "Malformed request data: Failed to decompress data."


def post(body: bytes, compression: str = "", encoding: str = "") -> SdkRequest:
    return SdkRequest("POST", {"compression": compression}, {}, body, encoding)


def form(**fields: str) -> SdkRequest:
    return SdkRequest("POST", {}, fields, b"as it was", "")


@pytest.mark.parametrize(
    ("compressed", "text"),
    [  # written by the JavaScript original, version 1.5.0
        ("N4IghiBcCMC+Q===", '{"a":1}'),
        (
            "N4IgpgbmB2AuIC4QQJYGcXwDQgCbthWgGNYB9FXREAQ2mhBwAcAnAeybBcLDUVGg0AtmGoApNmgCXAAkB8G4BTdxiCYAbOtVZsZWnez1"
            "sQAXyNA=",
            '{"event":"visit","distinct_id":"ann","properties":{"name":"José 🦔","plan":"pro pro pro pro"}}',
        ),
        ("IY18ZXTt/DFOS1b0c17Pd/wYUcSaWeRZVdTbXTEA", "a" * 1000),
        ("B5A=", "x"),
        ("gAbA8g==", "\N{REPLACEMENT CHARACTER}x"),
        ("qemhpzI=", "日本"),
        ("Q===", ""),
    ],
)
def test_output_of_the_javascript_library_is_decoded(compressed: str, text: str) -> None:
    assert lz_string.decompress(compressed.encode(), 1000) == text


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
def test_lz_string_round_trips(text: str) -> None:
    assert lz_string.decompress(compress(text).encode(), 1000) == text


@given(st.binary(max_size=300))
def test_any_bytes_are_decoded_as_lz_string_or_refused(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert len(lz_string.decompress(base64.b64encode(data), 1000)) <= 1000


@pytest.mark.parametrize(
    "sdk_request",
    [
        post(b'{"a": 1}'),
        post(b'\xef\xbb\xbf{"a": 1}'),
        post(base64.b64encode(b'{"a": 1}')),
        post(base64.b64encode(b'{"a": 1}').rstrip(b"=")),
        post(base64.b64encode(gzip.compress(b'{"a": 1}'))),
        post(gzip.compress(base64.b64encode(b'{"a": 1}'))),
        post(gzip.compress(b'{"a"') + gzip.compress(b": 1}") + b"\0\0"),
        post(gzip.compress(b'{"a": 1}'), encoding="GZIP"),
        post(gzip.compress(b'{"a": 1}'), "gzip", "gzip"),
        post(b'{"a": 1}', "gzip-js"),
        post(b'{"a": 1}', "lz64"),
        post(b'{"a": 1}', "snappy"),
        form(data=base64.b64encode(b'{"a": 1}').decode()),
        form(data=compress('{"a": 1}').replace("+", " "), compression="lz64"),
        SdkRequest("GET", {"data": '{"a": 1}'}, {}, b"", ""),
        SdkRequest("POST", {"data": '{"a": 1}'}, {}, b"", ""),
    ],
)
def test_json_is_decoded_from_every_encoding(sdk_request: SdkRequest) -> None:
    assert decode_payload(sdk_request) == b'{"a": 1}'


def test_plus_that_a_form_turned_into_a_blank_is_a_plus() -> None:
    text = b'{"a": "~~~>>>???"}'
    assert b"+" in base64.b64encode(text)

    assert decode_payload(form(data=base64.b64encode(text).decode().replace("+", " "))) == text


@pytest.mark.parametrize("payload", [b"7", b"null", b"some text", b'"text"', b"e30", b"\x00\xff"])
def test_payload_without_an_encoding_is_unchanged(payload: bytes) -> None:
    assert decode_payload(post(payload)) == (b"{}" if payload == b"e30" else payload)


@pytest.mark.parametrize(
    ("sdk_request", "code", "detail"),
    [
        (post(b""), "no_data", "No data found."),
        (form(other="field"), "no_data", "No data found."),
        (SdkRequest("GET", {}, {}, b"{}", ""), "no_data", "No data found."),
        (post(gzip.compress(b"{}")[:-4]), "invalid_payload", f"{BROKEN} Compressed file ended before"),
        (post(b"\x1f\x8b\x08garbage of some length"), "invalid_payload", f"{BROKEN} Error -3"),
        (post(gzip.compress(b"{}") + b"rest"), "invalid_payload", f"{BROKEN} Error -3"),
        (post(gzip.compress(b"") * 100), "invalid_payload", f"{BROKEN} more than 64 gzip members"),
        (post(b"no gzip", "gzip"), "invalid_payload", f"{BROKEN} Not a gzipped file"),
        (post(b"no lz!", "lz64"), "invalid_payload", BROKEN),
        (post(b"Q===", "lz64"), "invalid_payload", BROKEN),
        (
            post(b"undefined", "gzip-js"),
            "invalid_payload",
            "Malformed request data: data being loaded from the request body for decompression is the literal string",
        ),
    ],
)
def test_payload_that_cannot_be_decoded_is_refused(sdk_request: SdkRequest, code: str, detail: str) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        decode_payload(sdk_request)

    assert refusal.value.code == code
    assert refusal.value.detail.startswith(detail)


def lz_bomb(units: int) -> bytes:
    """Return about the shortest stream of so many equal characters: every code names the entry it completes."""
    bits, width, room, length, written = [f"{0:02b}", f"{ord('a'):08b}"[::-1]], 3, 4, 1, 1
    entries = 4
    while written < units:
        length += 1
        bits.append(f"{entries:0{width}b}"[::-1])
        written += length
        entries += 1
        room -= 1
        if room == 0:
            room, width = 1 << width, width + 1
    stream = "".join(bits)
    stream += "0" * (-len(stream) % 24)
    return base64.b64encode(int(stream, 2).to_bytes(len(stream) // 8))


@pytest.mark.parametrize("kib", [8, 20])
def test_lz64_that_takes_more_than_a_few_milliseconds_is_not_decoded_on_the_event_loop(kib: int) -> None:
    text = f'{{"a":"{random.Random(1).randbytes(kib * 137).hex()}"}}'
    compressed = compress(text)
    requests = [
        post(compressed.encode(), "lz64"),
        post(compressed.encode(), encoding="LZ64"),
        SdkRequest("POST", {}, {"data": compressed, "compression": "lz64"}, compressed.encode(), ""),
        SdkRequest("GET", {"data": compressed, "compression": "lz64"}, {}, b"", ""),
    ]
    assert (kib - 3) * 1024 < len(compressed) < (kib + 3) * 1024

    assert [unpack_small(one) for one in requests] == [None if kib > 16 else text.encode()] * len(requests)
    assert unpack_small(post(text.encode())) == text.encode()


@functools.cache
def gzip_bomb() -> bytes:
    compressor = zlib.compressobj(1, wbits=31)
    zeros = bytes(1024 * 1024)
    return b"".join([*(compressor.compress(zeros) for _ in range(500)), compressor.flush()])


@pytest.mark.parametrize(
    "make",
    [
        lambda: post(gzip_bomb()),
        lambda: post(gzip_bomb(), "gzip", "gzip"),
        lambda: post(base64.b64encode(gzip_bomb())),
        lambda: form(data=base64.b64encode(gzip_bomb()).decode()),
        lambda: post(lz_bomb(500 * 1024 * 1024), "lz64"),
        lambda: post(b"A" * (limits.LZ_BYTES.value + 1), "lz64"),
    ],
    ids=["gzip", "gzip named twice", "gzip in base64", "gzip in base64 in a form", "lz64", "lz64 too long to decode"],
)
def test_decompression_bomb_is_refused_in_bounded_memory(make: Callable[[], SdkRequest]) -> None:
    sdk_request = make()
    tracemalloc.start()
    try:
        with pytest.raises(PayloadTooLarge):
            decode_payload(sdk_request)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 8 * limits.REQUEST_BYTES.value  # of 500 MiB that the text would have


@given(
    st.binary(max_size=200),
    st.sampled_from(["", "gzip", "lz64", "base64", "other"]),
    st.sampled_from([b"", b"\x1f\x8b\x08", b"{", b"H4sI"]),
)
def test_any_bytes_are_decoded_or_refused(body: bytes, compression: str, start: bytes) -> None:
    with contextlib.suppress(AppError):
        decode_payload(post(start + body, compression))
