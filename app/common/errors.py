"""Errors that become responses, one class for each status.

AppError
├── ValidationFailed        400  the body or a parameter is invalid
├── ParseError              400  the body cannot be parsed
├── InvalidHost             400  the request does not name an allowed host
├── NotAuthenticated        401  no key was sent
├── AuthenticationFailed    401  the key is invalid
├── PermissionDenied        403
│   └── MissingScope            the key lacks the required scope
├── NotFound                404
├── MethodNotAllowed        405
├── NotAcceptable           406
├── RequestTimeout          408  the body does not arrive
├── Conflict                409  the state of the object does not allow it
├── PreconditionFailed      412  the object has changed since the client read it
├── PayloadTooLarge         413
├── UnsupportedMediaType    415
├── Throttled               429  too many requests
└── Unavailable             503  try again later
"""

from collections.abc import Mapping
from typing import ClassVar, Final

from pydantic import JsonValue

_BEARER: Final = {"WWW-Authenticate": "Bearer"}  # the scheme by which a key is sent


class AppError(Exception):
    """An error with the content of its response: status, type, code, detail, attr.

    ``extra`` has further members of the response.
    """

    status: ClassVar[int]
    type: ClassVar[str]
    default_code: ClassVar[str]
    default_detail: ClassVar[str]

    def __init__(
        self,
        detail: str | None = None,
        *,
        code: str | None = None,
        attr: str | None = None,
        extra: Mapping[str, JsonValue] | None = None,
    ) -> None:
        super().__init__(detail or self.default_detail)
        self.detail = detail or self.default_detail
        self.code = code or self.default_code
        self.attr = attr
        self.extra = extra or {}

    @property
    def headers(self) -> Mapping[str, str]:
        return {}


class ValidationFailed(AppError):
    status = 400
    type = "validation_error"
    default_code = "invalid_input"
    default_detail = "Invalid input."


class ParseError(AppError):
    status = 400
    type = "invalid_request"
    default_code = "parse_error"
    default_detail = "Malformed request."


class InvalidHost(AppError):
    status = 400
    type = "invalid_request"
    default_code = "invalid_host"
    default_detail = "The Host header does not name a host of this service."


class NotAuthenticated(AppError):
    status = 401
    type = "authentication_error"
    default_code = "not_authenticated"
    default_detail = "Authentication credentials were not provided."

    @property
    def headers(self) -> Mapping[str, str]:
        return _BEARER


class AuthenticationFailed(AppError):
    status = 401
    type = "authentication_error"
    default_code = "authentication_failed"
    default_detail = "Incorrect authentication credentials."

    @property
    def headers(self) -> Mapping[str, str]:
        return _BEARER


class PermissionDenied(AppError):
    status = 403
    type = "authentication_error"
    default_code = "permission_denied"
    default_detail = "You do not have permission to perform this action."


class MissingScope(PermissionDenied):
    def __init__(self, scope: str) -> None:
        super().__init__(f"API key missing required scope '{scope}'")


class NotFound(AppError):
    status = 404
    type = "invalid_request"
    default_code = "not_found"
    default_detail = "Not found."


class MethodNotAllowed(AppError):
    status = 405
    type = "invalid_request"
    default_code = "method_not_allowed"
    default_detail = "Method not allowed."

    def __init__(self, method: str) -> None:
        super().__init__(f'Method "{method}" not allowed.')


class NotAcceptable(AppError):
    status = 406
    type = "invalid_request"
    default_code = "not_acceptable"
    default_detail = "Could not satisfy the request Accept header."


class RequestTimeout(AppError):
    status = 408
    type = "invalid_request"
    default_code = "request_timeout"
    default_detail = "The request body did not arrive in time."

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Connection": "close"}  # the rest of the body must not be read as the next request


class Conflict(AppError):
    status = 409
    type = "invalid_request"
    default_code = "conflict"
    default_detail = "The state of the object does not allow this."


class PreconditionFailed(AppError):
    status = 412
    type = "invalid_request"
    default_code = "precondition_failed"
    default_detail = "The object has changed since it was read: read it again."


class PayloadTooLarge(AppError):
    status = 413
    type = "invalid_request"
    default_code = "request_too_large"
    default_detail = "The request body is too large."


class UnsupportedMediaType(AppError):
    status = 415
    type = "invalid_request"
    default_code = "unsupported_media_type"
    default_detail = "Unsupported media type in request."


class Throttled(AppError):
    status = 429
    type = "throttled_error"
    default_code = "throttled"
    default_detail = "Request was throttled."

    def __init__(self, seconds: int) -> None:
        super().__init__(f"Request was throttled. Expected available in {seconds} second{'s' if seconds != 1 else ''}.")
        self._seconds = seconds

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Retry-After": str(self._seconds)}


class Unavailable(AppError):
    status = 503
    type = "server_error"
    default_code = "service_unavailable"
    default_detail = "The database cannot be reached. Please try again."

    def __init__(self, detail: str | None = None, *, code: str | None = None, retry_after: int = 1) -> None:
        super().__init__(detail, code=code)
        self.retry_after = retry_after

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Retry-After": str(self.retry_after)}


class StillCounting(Unavailable):
    """Results take longer than a request may. What was counted is kept.

    ``percent`` of the events have been looked through for the first time; None where that is not what takes long.
    """

    default_detail = "Results are still being counted. Please try again."

    def __init__(self, percent: int | None = None, *, retry_after: int = 10) -> None:
        detail = None
        if percent is not None:
            detail = f"Results are still being counted: {percent} % of the events are done. Please try again."
        super().__init__(detail, retry_after=retry_after)
        self.percent = percent
