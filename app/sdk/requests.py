"""Reads what SDKs send to the public addresses: in a body, a form or the address itself."""

import asyncio
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import ParamSpec, TypeVar

from fastapi import Request
from starlette.datastructures import QueryParams

from app.http.forms import MULTIPART, URL_ENCODED, parse_multipart, parse_url_encoded
from app.http.request_body import read_bytes
from app.sdk.payloads import SdkRequest, has_known_signature

# More is decoded beside the event loop, so that others are served meanwhile.
_BYTES_DECODED_AT_ONCE = 64 * 1024
_SHORT = 20  # no token fits into it
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


async def read_sdk_request(request: Request, limit: int) -> SdkRequest:
    """Return a request as it came; refuse a body of more than ``limit`` bytes."""
    body = await read_bytes(request, limit)
    headers: Mapping[bytes, bytes] = dict(request.scope["headers"])
    client = request.scope.get("client")
    return SdkRequest(
        method=request.scope["method"],
        query=read_query(request),
        form=await _read_form(body, headers.get(b"content-type", b"").decode("latin-1")),
        body=body,
        content_encoding=headers.get(b"content-encoding", b"").decode("latin-1"),
        address=client[0] if client else None,
    )


def read_query(request: Request) -> Mapping[str, str]:
    """Return the parameters of the address; of several with one name the last one counts."""
    text: bytes = request.scope["query_string"]
    return _read_short_query(text) if len(text) <= _SHORT else dict(QueryParams(text))


@lru_cache(maxsize=256)  # most clients ask ``v=2`` and nothing else
def _read_short_query(text: bytes) -> Mapping[str, str]:
    return MappingProxyType(dict(QueryParams(text)))


async def run_in_thread_if_large(
    size: int, work: Callable[Parameters, Result], *arguments: Parameters.args, **named: Parameters.kwargs
) -> Result:
    """Do work on so many bytes, in a thread if they are many."""
    if size > _BYTES_DECODED_AT_ONCE:
        return await asyncio.to_thread(work, *arguments, **named)
    return work(*arguments, **named)


async def _read_form(body: bytes, content_type: str) -> dict[str, str]:
    """Return a form's fields; none where the body is something else, whatever it is called (``curl -d`` says form)."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == URL_ENCODED and not has_known_signature(body):
        return {**await run_in_thread_if_large(len(body), parse_url_encoded, body)}
    if media_type == MULTIPART and not has_known_signature(body):
        return {**await parse_multipart(body, content_type)}
    return {}
