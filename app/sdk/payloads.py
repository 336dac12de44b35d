"""Extracts the JSON of an SDK's request: finds the payload, decodes base64 and decompresses.

The format of a payload is detected from its bytes. Query, form and headers name at most a compression, and not
reliably: browsers send gzip as plain text, and a proxy may have decompressed what a header still calls gzip.
"""

import binascii
import re
import string
import zlib
from collections.abc import Mapping

import msgspec

from app.common import limits
from app.common.errors import PayloadTooLarge, ValidationFailed
from app.common.limits import Limit
from app.sdk import lz_string

_MAX_GZIP_MEMBERS = 64
_GZIP_MAGIC = b"\x1f\x8b\x08"
_LZ = "lz64"
_GZIP_NAMES = frozenset({"gzip", "gzip-js"})
_WITH_GZIP_HEADER = 16 + zlib.MAX_WBITS
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Possessive, and no client sends more blanks: a body may be nothing else, and a search holds the interpreter.
_JSON = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]{0,1024}+[{\[]")
_BLANKS = b" \t\r\n"
_BREAKS = b"\t\r\n"
_BASE64 = string.ascii_letters.encode() + string.digits.encode() + b"+/"
_TO_BASE64 = bytes.maketrans(b"-_ ", b"+/+")  # parsing a form turned a plus into a blank


class SdkRequest(msgspec.Struct, frozen=True):
    """A request of an SDK before decoding; ``form`` has the fields of a form body and is empty for other bodies."""

    method: str
    query: Mapping[str, str]
    form: Mapping[str, str]
    body: bytes
    content_encoding: str
    address: str | None = None  # of the client
    user_agent: str = ""
    origin: str = ""  # the site whose page sent the request


def decode_payload(sdk_request: SdkRequest, limit: Limit = limits.REQUEST_BYTES) -> bytes:
    """Return the payload of a request, decoded and decompressed. It is not validated as JSON.

    Raises
    ------
    ValidationFailed
        With the 2022 codes ``no_data`` and ``invalid_payload``.
    PayloadTooLarge
        As soon as the decompressed text exceeds the limit.
    """
    payload = _find_payload(sdk_request)
    compression = _compression(sdk_request)
    if not payload:
        raise ValidationFailed(
            "No data found. Make sure to use a POST request when sending the payload in the body of the request.",
            code="no_data",
        )
    if compression == _LZ and not _is_json(payload):
        return _decompress_lz(payload, limit)
    if compression in _GZIP_NAMES and payload.strip(_BLANKS) == b"undefined":
        raise _malformed("data being loaded from the request body for decompression is the literal string 'undefined'")
    unarmored = _decode_base64(payload)
    if unarmored.startswith(_GZIP_MAGIC):
        return _decode_base64(_decompress_gzip(unarmored, limit)).removeprefix(_BYTE_ORDER_MARK)
    if compression in _GZIP_NAMES and not _is_json(unarmored):
        raise _undecompressable("Not a gzipped file")
    return unarmored.removeprefix(_BYTE_ORDER_MARK)


def _find_payload(sdk_request: SdkRequest) -> bytes:
    if sdk_request.method == "GET":
        return sdk_request.query.get("data", "").encode()
    if sdk_request.form:
        return sdk_request.form.get("data", "").encode()
    return sdk_request.body or sdk_request.query.get("data", "").encode()


def _compression(sdk_request: SdkRequest) -> str:
    named = sdk_request.query.get("compression") or sdk_request.form.get("compression") or sdk_request.content_encoding
    return named.strip().lower()


def is_lz(sdk_request: SdkRequest) -> bool:
    """Whether a request says that its payload is compressed as lz64."""
    return _compression(sdk_request) == _LZ


def has_known_signature(payload: bytes) -> bool:
    """Whether a payload begins like a JSON object, a JSON list or gzip, as neither base64 nor a form does."""
    return _is_json(payload) or payload.startswith(_GZIP_MAGIC)


def _is_json(payload: bytes) -> bool:
    return _JSON.match(payload) is not None


def _decode_base64(payload: bytes) -> bytes:
    """Decode base64 if the result is JSON or gzip; else return the payload unchanged."""
    if has_known_signature(payload):
        return payload
    digits = payload.strip(_BLANKS).rstrip(b"=").translate(_TO_BASE64, _BREAKS)
    if digits.translate(None, _BASE64):
        return payload
    try:
        decoded = binascii.a2b_base64(digits + b"=" * (-len(digits) % 4))
    except binascii.Error:
        return payload
    return decoded if has_known_signature(decoded) else payload


def _decompress_gzip(payload: bytes, limit: Limit) -> bytes:
    parts: list[bytes] = []
    room = limit.value
    rest = payload
    for _ in range(_MAX_GZIP_MEMBERS):
        inflate = zlib.decompressobj(_WITH_GZIP_HEADER)
        try:
            parts.append(inflate.decompress(rest, room + 1))
        except zlib.error as error:
            raise _undecompressable(str(error)) from error
        room -= len(parts[-1])
        if room < 0:
            raise PayloadTooLarge(limit.detail)
        if not inflate.eof:
            raise _undecompressable("Compressed file ended before the end-of-stream marker was reached")
        rest = inflate.unused_data.lstrip(b"\0")  # some writers pad with zeros
        if not rest:
            return b"".join(parts)
    raise _undecompressable(f"more than {_MAX_GZIP_MEMBERS} gzip members")


def _decompress_lz(payload: bytes, limit: Limit) -> bytes:
    if len(payload) > limits.LZ_BYTES.value:
        raise PayloadTooLarge(limits.LZ_BYTES.detail)
    try:
        text = lz_string.decompress(payload.strip(_BLANKS).translate(_TO_BASE64, _BREAKS), limit.value)
    except lz_string.OutputTooLong as error:
        raise PayloadTooLarge(limit.detail) from error
    except ValueError as error:
        raise _undecompressable() from error
    if not text:
        raise _undecompressable()
    return text.encode()


def _undecompressable(reason: str = "") -> ValidationFailed:
    return _malformed(f"Failed to decompress data. {reason}".rstrip())


def _malformed(reason: str) -> ValidationFailed:
    return ValidationFailed(f"Malformed request data: {reason}", code="invalid_payload")
