"""Rewrites what JavaScript and Python clients send beyond JSON, in a text that otherwise stays as it is.

The text is rewritten in windows, and no value is built: parsing it would take many times its size in memory.
"""

import math
import re
from collections.abc import Iterable, Iterator
from typing import Final

from app.common import limits
from app.common.errors import PayloadTooLarge
from app.common.lenient_json import MAX_DIGITS

WINDOW_BYTES: Final = 64 * 1024  # a call on a window holds the interpreter for about a millisecond
_MAX_CONTINUATION_BYTES = 3  # of a character in UTF-8

_HEX = rb"[0-9a-fA-F]"
_HIGH = rb"[dD][89abAB]" + _HEX + _HEX
_LOW = rb"[dD][c-fC-F]" + _HEX + _HEX
_HALF = rb"[dD][89a-fA-F]" + _HEX + _HEX  # of a surrogate pair

# Repetitions of alternatives are not possessive below: Python before 3.11.5, as of Debian 12, then matches too much.
# A text up to a place that is not inside an escape, nor between the halves of a pair.
_WHOLE_ESCAPES = re.compile(
    rb"(?:[^\\]++|\\[^u]|\\u(?=.{4})(?!" + _HALF + rb")|\\u" + _LOW
    # what follows decides whether a high half is alone, so it must be in the window
    + rb"|\\u" + _HIGH + rb"(?:\\u" + _LOW + rb"|(?=[^\\]|\\[^u]|\\u(?!" + _LOW + rb").{4})))*",
    re.DOTALL,
)  # fmt: skip
# Group 1: a text without a lone half of a pair. It is empty for such a half.
_LONE_HALVES = re.compile(
    rb"((?:[^\\]++|\\[^u]|\\u(?!" + _HALF + rb")|\\u" + _HIGH + rb"\\u" + _LOW + rb"|\\\Z)+)|\\u" + _HALF, re.DOTALL
)
_REPLACEMENT: Final = rb"\ufffd"

_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_CONSTANT = rb"NaN|-?Infinity"
_NUMBER = rb"-?+[0-9]++(?:\.[0-9]++)?+(?:[eE][-+]?+[0-9]++)?+"
# Numbers that are neither too long an integer nor too large a float.
_PLAIN_NUMBER = rb"-?+[0-9]{1,200}+(?:\.[0-9]++)?+(?:[eE](?:-[0-9]++|\+?+0*+[0-9]{1,2}+))?+(?=[^0-9.eE])"
_WHOLE_TOKENS = re.compile(
    rb'(?:[^"NI0-9\-]++|' + _STRING + rb"|" + _PLAIN_NUMBER
    + rb"|" + _CONSTANT + rb"|[NI\-](?=.{9})(?!" + _CONSTANT + rb"|[0-9])|" + _NUMBER + rb"(?=[^0-9.eE]))*",
    re.DOTALL,
)  # fmt: skip
# Group 1: a text without constants and large numbers; group 2: a number. Both are empty for a constant.
_SPECIAL_TOKENS = re.compile(
    rb'((?:[^"NI0-9\-]++|' + _STRING + rb"|" + _PLAIN_NUMBER + rb"|(?!" + _CONSTANT + rb"|" + _NUMBER
    + rb').)+)|(' + _NUMBER + rb")|" + _CONSTANT,
    re.DOTALL,
)  # fmt: skip
_LARGE_NUMBER = re.compile(_NUMBER)
_IN_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)


def repair(body: bytes) -> bytes:
    """Return the JSON that a text stands for: ``lenient_json.load`` returns the same of both.

    NaN, infinities, numbers beyond a float and integers of more than a thousand digits become null; lone surrogates and
    bytes that are not UTF-8 become replacement characters. A text that is not JSON even so stays invalid.

    Raises
    ------
    PayloadTooLarge
        As soon as the result is larger than a request may be.
    """
    text = _as_utf8(body)
    if rb"\ud" in text or rb"\uD" in text:
        text = _join(_without_lone_halves(text))
    return _join(_without_special_tokens(text))


def is_utf8(body: bytes) -> bool:
    """Whether a text is UTF-8. Decoding it in one piece would take up to four times its size in memory."""
    return body.isascii() or _can_be_decoded(body, "strict")


def _as_utf8(body: bytes) -> bytes:
    """Return UTF-8; surrogate halves that are encoded separately, as by old browsers, become escapes."""
    if is_utf8(body):
        return body
    if _can_be_decoded(body, "surrogatepass"):
        pieces = (piece.decode(errors="surrogatepass") for piece in _pieces(body))
        return _join(piece.encode(errors="backslashreplace") for piece in pieces)
    return _join(piece.decode(errors="replace").encode() for piece in _pieces(body))


def _join(pieces: Iterable[bytes]) -> bytes:
    joined = bytearray()
    for piece in pieces:
        joined += piece
        if len(joined) > limits.REQUEST_BYTES.value:
            raise PayloadTooLarge(limits.REQUEST_BYTES.detail)
    return bytes(joined)


def _can_be_decoded(body: bytes, errors: str) -> bool:
    try:
        for piece in _pieces(body):
            piece.decode(errors=errors)
    except UnicodeDecodeError:
        return False
    return True


def _pieces(body: bytes) -> Iterator[bytes]:
    """Cut a text between characters."""
    start = 0
    while start < len(body):
        end = start + WINDOW_BYTES
        for _ in range(_MAX_CONTINUATION_BYTES):
            if end < len(body) and body[end] & 0b11000000 == 0b10000000:
                end -= 1
        yield body[start:end]
        start = end


def _without_lone_halves(text: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(text):
        end = _end_of_window(_WHOLE_ESCAPES, text, start)
        yield b"".join([plain or _REPLACEMENT for plain in _LONE_HALVES.findall(text[start:end])])
        start = end


def _without_special_tokens(text: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(text):
        end = _end_of_window(_WHOLE_TOKENS, text, start)
        if end > start:
            tokens = _SPECIAL_TOKENS.findall(text[start:end])
            yield b"".join([plain or _finite(number) for plain, number in tokens])
        elif text.startswith(b'"', start):  # longer than a window, or not terminated
            end = _end_of_string(text, start)
            yield text[start:end]
        elif number := _LARGE_NUMBER.match(text, start):
            end = number.end()
            yield _finite(number[0])
        else:
            end = start + 1
            yield text[start:end]
        start = end


def _end_of_window(whole: re.Pattern[bytes], text: bytes, start: int) -> int:
    """Return where a window may end that begins at ``start``; ``start`` where the first token is longer than one."""
    limit = min(start + WINDOW_BYTES, len(text))
    found = whole.match(text, start, limit)
    end = start if found is None else found.end()
    if limit == len(text) and whole is _WHOLE_ESCAPES:
        return limit
    return end


def _end_of_string(text: bytes, start: int) -> int:
    position = start + 1
    while position < len(text):
        found = _IN_STRING.match(text, position, min(position + WINDOW_BYTES, len(text)))
        end = position if found is None else found.end()
        if text.startswith(b'"', end):
            return end + 1
        if end == position:  # a backslash at the end of the text
            break
        position = end
    return len(text)


def _finite(number: bytes) -> bytes:
    """Return a number, or null where it is too long an integer or too large a float; a constant is empty here."""
    if number.removeprefix(b"-").isdigit():
        return number if len(number) <= MAX_DIGITS else b"null"
    return number if number and math.isfinite(float(number)) else b"null"
