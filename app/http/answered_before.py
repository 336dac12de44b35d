"""A request that was answered already, and gets the same answer again."""

import json

from fastapi import Request, Response

from app.http.strictness import LISTED, WARNINGS


class AnsweredBefore(Exception):
    """Nothing is done again. ``tag`` is the ``ETag`` of the answer, if it had one."""

    def __init__(self, status: int, body: bytes, tag: str | None) -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        self.tag = tag


async def answer_again(request: Request, error: Exception) -> Response:
    if not isinstance(error, AnsweredBefore):  # it is registered for that class only
        raise error
    document = json.loads(error.body)
    if isinstance(document, dict) and LISTED in document:  # this time, the body was not looked through
        request.scope.setdefault(WARNINGS, [])[:] = document[LISTED]
    headers = {"Idempotent-Replayed": "true", **({"ETag": error.tag} if error.tag else {})}
    return Response(error.body, error.status, headers, media_type="application/json")
