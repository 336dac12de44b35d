"""Finds the personal API key of a request: in the header, then in a short body, then in the query string."""

from fastapi import Request

from app.accounts.auth.api_keys import Credential, read_bearer
from app.common import limits
from app.common.errors import ParseError, UnsupportedMediaType
from app.http.query_params import PERSONAL_API_KEY
from app.http.request_body import find_bytes, read_document


async def find_credential(request: Request) -> Credential | None:
    """Return the first key found; it is the only one tried."""
    header = read_bearer(request.headers.get("authorization"))
    if header is not None:
        return Credential(header, "Authorization header")
    body = await _key_in_body(request)
    if body:
        return Credential(body, "body")
    query = request.query_params.get(PERSONAL_API_KEY)
    return Credential(query, "query string") if query else None


async def _key_in_body(request: Request) -> str | None:
    """Return the key that a short body contains. Of a longer one no more is read: the caller is not known yet."""
    body = await find_bytes(request, limits.BODY_WITH_KEY_BYTES.value)
    if body is None or PERSONAL_API_KEY.encode() not in body:
        return None
    try:
        document = await read_document(request)
    except (ParseError, UnsupportedMediaType):  # reported after authentication, if at all
        return None
    key = document.get(PERSONAL_API_KEY) if isinstance(document, dict) else None
    return key if isinstance(key, str) else None
