"""The headers by which pages of any origin may read an answer."""

from collections.abc import Mapping, Sequence
from typing import Final

METHODS: Final = "GET, POST, OPTIONS"
_EXPOSED: Final = b"ETag, Retry-After, X-Request-ID"
SECONDS_TO_REMEMBER: Final = b"7200"


def public_cors_headers(requested: Mapping[bytes, bytes]) -> Sequence[tuple[bytes, bytes]]:
    """Return the headers that allow the origin of a request to read the response."""
    origin = requested.get(b"origin")
    if origin is None:
        return [(b"vary", b"Origin")]
    allowed = [
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-expose-headers", _EXPOSED),
    ]
    if b"access-control-request-method" not in requested:
        return [*allowed, (b"vary", b"Origin")]
    return [
        *allowed,
        (b"access-control-allow-methods", METHODS.encode()),
        (b"access-control-allow-headers", requested.get(b"access-control-request-headers", b"Content-Type")),
        (b"access-control-max-age", SECONDS_TO_REMEMBER),
        (b"vary", b"Origin, Access-Control-Request-Headers"),
    ]
