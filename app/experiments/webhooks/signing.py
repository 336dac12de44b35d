"""The signature of a delivery, by which a receiver knows that it comes from this service."""

import hashlib
import hmac
import secrets
from typing import Final

SIGNATURE_HEADER: Final = "X-Abacus-Signature"
EVENT_ID_HEADER: Final = "X-Event-Id"
EVENT_HEADER: Final = "X-Abacus-Event"

_PREFIX: Final = "whs_"


def make_secret() -> str:
    return f"{_PREFIX}{secrets.token_urlsafe(32)}"


def sign(secret: str, seconds: int, body: bytes) -> str:
    """Return the value of the signature header.

    Parameters
    ----------
    seconds
        When it is sent, in seconds since 1970: it is signed too, so that a receiver can refuse old deliveries.
    """
    signed = b"%d.%b" % (seconds, body)
    return f"t={seconds},v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"
