"""Generating, hashing and parsing of keys."""

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
    """A new key: its value, which is shown once, and the digest and mask that are stored."""

    value: str
    digest: str
    mask: str


@dataclass(frozen=True)
class Credential:
    """A key that a request carries, and the part of the request that contained it."""

    value: str
    place: str


def generate_token(prefix: str = "") -> str:
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

    A slow password hash would add no security to 256 random bits, and it would run in every request.
    """
    return hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()


def read_bearer(authorization: str | None) -> str | None:
    """Return the bearer token of an ``Authorization`` header; other schemes are ignored."""
    match = _BEARER.fullmatch(authorization.rstrip()) if authorization else None
    return match[1] if match else None
