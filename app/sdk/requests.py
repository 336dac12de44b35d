"""Reads requests of SDKs, whose payload is in the body, in a form or in the query string."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import ParamSpec, TypeAlias, TypeVar

from fastapi import Request
from starlette.datastructures import QueryParams

from app.common import limits
from app.common.byte_budget import ByteBudget
from app.common.errors import PayloadTooLarge
from app.common.limits import Limit
from app.http.forms import MULTIPART, URL_ENCODED, parse_multipart, parse_url_encoded
from app.http.request_body import read_bytes
from app.sdk.payloads import SdkRequest, decode_payload, has_known_signature, is_lz

# Larger payloads are decoded in a thread, so that the event loop serves other requests meanwhile.
_MAX_INLINE_BYTES = 64 * 1024
# Decoding lz64 takes 0.4 ms a KiB, where a thread costs 0.035 ms: those of most requests are smaller.
_MAX_INLINE_LZ_BYTES = 16 * 1024
_INLINE = dataclasses.replace(limits.REQUEST_BYTES, value=_MAX_INLINE_BYTES)
_MAX_CACHED_QUERY = 20  # too short to contain a token
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Decode: TypeAlias = Callable[[SdkRequest, Limit], bytes]


async def read_sdk_request(request: Request, limit: int) -> SdkRequest:
    """Return a request before decoding; refuse a body of more than ``limit`` bytes."""
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
        user_agent=headers.get(b"user-agent", b"").decode("latin-1"),
        origin=headers.get(b"origin", b"").decode("latin-1"),
    )


def read_query(request: Request) -> Mapping[str, str]:
    """Return the query parameters; the last one of a repeated name counts."""
    text: bytes = request.scope["query_string"]
    return _read_short_query(text) if len(text) <= _MAX_CACHED_QUERY else dict(QueryParams(text))


@lru_cache(maxsize=256)  # most clients send only ``v=2``
def _read_short_query(text: bytes) -> Mapping[str, str]:
    return MappingProxyType(dict(QueryParams(text)))


async def run_in_thread_if_large(
    size: int, work: Callable[Parameters, Result], *arguments: Parameters.args, **named: Parameters.kwargs
) -> Result:
    """Run work on a payload of ``size`` bytes, in a thread if it is large."""
    if size > _MAX_INLINE_BYTES:
        return await asyncio.to_thread(work, *arguments, **named)
    return work(*arguments, **named)


def unpack_small(sdk_request: SdkRequest, decode: Decode | None = None) -> bytes | None:
    """Return the payload of a request, decompressed; None for one that takes long, being large as sent or decompressed.

    ``decode`` is ``decode_payload`` unless it is given.

    Raises
    ------
    ValidationFailed
        As ``decode``.
    """
    most = _MAX_INLINE_LZ_BYTES if is_lz(sdk_request) else _MAX_INLINE_BYTES
    if len(sdk_request.body or sdk_request.query.get("data", "")) <= most:
        with contextlib.suppress(PayloadTooLarge):
            return (decode or decode_payload)(sdk_request, _INLINE)
    return None


@contextlib.asynccontextmanager
async def unpack_large(
    request: Request, sdk_request: SdkRequest, decode: Decode | None = None, limit: Limit = limits.REQUEST_BYTES
) -> AsyncIterator[list[bytes]]:
    """Decompress a large payload in a thread, and yield it in a list from which it can be taken.

    All that are being worked on share a budget: until the block ends this one counts, as the largest that is allowed
    until its size is known. ``decode`` is ``decode_payload`` unless it is given.

    Raises
    ------
    ValidationFailed, PayloadTooLarge
        As ``decode``.
    """
    budget: ByteBudget = request.app.state.payload_bytes
    async with budget.hold(limit.value) as held:
        unpacked = [await asyncio.to_thread(decode or decode_payload, sdk_request, limit)]
        held.shrink(len(unpacked[0]))
        yield unpacked


async def _read_form(body: bytes, content_type: str) -> dict[str, str]:
    """Return the fields of a form; empty for other bodies, even if they are declared as one (as by ``curl -d``)."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == URL_ENCODED and not has_known_signature(body):
        return {**await run_in_thread_if_large(len(body), parse_url_encoded, body)}
    if media_type == MULTIPART and not has_known_signature(body):
        return {**await parse_multipart(body, content_type)}
    return {}
