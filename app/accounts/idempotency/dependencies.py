"""Lets routes answer a request with an `Idempotency-Key` once: ``KeyedRoute`` as their class, and ``ONCE``."""

import hashlib
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Final

from fastapi import Header, Request, Response, params
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.auth.dependencies import ProjectDep, UserDep
from app.accounts.idempotency.repository import AnswerRepository
from app.accounts.idempotency.service import HEADER, Claim, check_key
from app.http import openapi
from app.http.dependencies import SessionDep
from app.http.request_body import read_bytes
from app.http.warned_route import WarnedRoute

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias=HEADER,
        description="1 to 255 characters that name this request: sent again within 24 hours, it is answered as before "
        "and does nothing. Another request under the same key is refused with 409.",
        examples=[None],
    ),
]


def build_claim(
    session: AsyncSession, project_id: int, user_id: int, key: str, request: Request, content: bytes
) -> Claim:
    """Return the claim of a key by a request; ``content`` stands for its body."""
    address = f"{request.method} {request.url.path}?{request.url.query}\n".encode()
    return Claim(AnswerRepository(session, project_id, user_id), key, hashlib.sha256(address + content).hexdigest())


async def claim_key(
    request: Request, session: SessionDep, project: ProjectDep, user: UserDep, idempotency_key: IdempotencyKey = None
) -> None:
    """Take the key of a request, in the request's own transaction."""
    if idempotency_key is None:
        return
    check_key(idempotency_key)
    claim = build_claim(session, project.id, user.id, idempotency_key, request, await read_bytes(request))
    await claim.make()
    request.state.claim = claim


# A mark for ``dependencies=`` of a route that creates something in the request's own transaction.
ONCE: Final[params.Depends] = params.Depends(claim_key)
REUSED: Final = openapi.error_responses(409)  # for its ``responses=``


class KeyedRoute(WarnedRoute):
    """Keeps the answer to a request that has taken a key, before its transaction ends."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_and_keep(request: Request) -> Response:
            response = await handle(request)
            claim: Claim | None = getattr(request.state, "claim", None)
            if claim is not None:
                await claim.keep(response.status_code, bytes(response.body), response.headers.get("ETag"))
            return response

        return handle_and_keep
