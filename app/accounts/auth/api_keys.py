"""Making and recognising keys. Pure functions."""

import hashlib
import re
import secrets
import string
from dataclasses import dataclass

PERSONAL_KEY_PREFIX = "phx_"
PROJECT_TOKEN_PREFIX = "phc_"  # noqa: S105  # a public prefix

_ALPHABET = string.digits + string.ascii_letters
_KEY_BITS = 256
_BEARER = re.compile(r"Bearer\s+(\S.+)")


@dataclass(frozen=True)
class NewKey:
    """A fresh key: the value to show once, and what may be stored of it."""

    value: str
    digest: str
    mask: str


@dataclass(frozen=True)
class Credential:
    """A key as a request brought it, and the part of the request it was in."""

    value: str
    place: str


def generate_token(prefix: str) -> str:
    """Return ``prefix`` and 256 random bits in base 62."""
    number, digits = secrets.randbits(_KEY_BITS), []
    while number:
        number, remainder = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[remainder])
    return prefix + "".join(digits)


def generate_personal_key() -> NewKey:
    value = generate_token(PERSONAL_KEY_PREFIX)
    return NewKey(value, digest(value), f"{value[:4]}...{value[-4:]}")


def digest(value: str) -> str:
    """Return the SHA-256 of a key in hexadecimal.

    A slow password hash would buy nothing: 256 random bits cannot be guessed, and it would run in every request.
    """
    return hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()


def read_bearer(authorization: str | None) -> str | None:
    """Return the key of an ``Authorization`` header; other schemes are as good as none."""
    match = _BEARER.fullmatch(authorization.rstrip()) if authorization else None
    return match[1] if match else None
