"""Turns every error, of the service, the framework or the database, into the one error body."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from app.common.errors import AppError, MethodNotAllowed, NotFound, Unavailable
from app.db.errors import DATABASE_ERRORS, describe, is_transient_database_error
from app.http.answered_before import AnsweredBefore, answer_again
from app.http.schemas import ErrorBody
from app.http.unserved_addresses import answer_sdk

logger = logging.getLogger("abacus")


def respond(error: AppError, headers: Mapping[str, str] | None = None) -> JSONResponse:
    body = ErrorBody(type=error.type, code=error.code, detail=error.detail, attr=error.attr)
    document = {**body.model_dump(), **error.extra}
    return JSONResponse(document, status_code=error.status, headers={**error.headers, **(headers or {})})


def report_unavailable(request: Request, error: BaseException) -> None:
    """Log why a request is answered 503: the refusal of the service, and the database's own words behind it."""
    reasons = [error.detail] if isinstance(error, AppError) else []
    cause = error.__cause__ if isinstance(error, AppError) else error
    if cause is not None:
        reasons.append(describe(cause))
    path = getattr(request.scope.get("route"), "path", "an unknown path")  # the path as sent may contain a secret
    logger.warning("unavailable: %s %s: %s", request.method, path, " ".join(reasons))


async def handle_app_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AppError)  # noqa: S101  # registered for this class only; tells the type checker
    if isinstance(error, Unavailable):
        report_unavailable(request, error)
    return respond(error)


async def handle_http_exception(request: Request, error: Exception) -> JSONResponse:
    """Handle errors of the framework: unknown paths and methods."""
    assert isinstance(error, HTTPException)  # noqa: S101  # registered for this class only
    if error.status_code == NotFound.status:
        return respond(NotFound("Endpoint not found."))
    if error.status_code == MethodNotAllowed.status:
        return respond(MethodNotAllowed(request.method), error.headers)
    body = ErrorBody(type="invalid_request", code="invalid_request", detail=str(error.detail), attr=None)
    return JSONResponse(body.model_dump(), status_code=error.status_code, headers=error.headers)


async def handle_request_validation(_request: Request, error: Exception) -> JSONResponse:
    """Path and query validation errors are reported as 404."""
    assert isinstance(error, RequestValidationError)  # noqa: S101  # registered for this class only
    return respond(NotFound())


async def handle_database_error(request: Request, error: Exception) -> JSONResponse:
    if not is_transient_database_error(error):
        raise error
    report_unavailable(request, error)
    return respond(Unavailable())


_HANDLERS: Final[Mapping[type[Exception], Callable[[Request, Exception], Awaitable[Response]]]] = {
    AppError: handle_app_error,
    AnsweredBefore: answer_again,
    HTTPException: handle_http_exception,
    RequestValidationError: handle_request_validation,
    **dict.fromkeys(DATABASE_ERRORS, handle_database_error),
}


def install(application: FastAPI, resources: frozenset[str]) -> None:
    """Install the handlers; below the names of ``resources``, a wrong path is an error for everyone."""

    async def handle_or_answer_sdk(request: Request, error: Exception) -> Response:
        is_unserved = isinstance(error, HTTPException) and error.status_code == NotFound.status
        answered = answer_sdk(request, resources) if is_unserved else None
        return answered or await handle_http_exception(request, error)

    for kind, handler in _HANDLERS.items():
        application.add_exception_handler(kind, handle_or_answer_sdk if kind is HTTPException else handler)


async def answer(request: Request, error: Exception) -> Response:
    """Return the response for an error that an endpoint raised; raise it again if it is a bug."""
    handler = next((_HANDLERS[kind] for kind in type(error).__mro__ if kind in _HANDLERS), None)
    if handler is None:
        raise error
    return await handler(request, error)
