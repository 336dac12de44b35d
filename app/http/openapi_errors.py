"""Examples of the errors of each operation, made of the errors that the service raises."""

from typing import Any, Final

from app.common import limits
from app.common.errors import (
    AppError,
    AuthenticationFailed,
    Conflict,
    InvalidHost,
    MethodNotAllowed,
    MissingScope,
    NotAcceptable,
    NotAuthenticated,
    NotFound,
    PayloadTooLarge,
    PreconditionFailed,
    RequestTimeout,
    Throttled,
    Unavailable,
    UnsupportedMediaType,
    ValidationFailed,
)
from app.http.schemas import ErrorBody
from app.http.strictness import refusal_of_parameters

JsonDict = dict[str, Any]  # a piece of OpenAPI

_ALIKE: Final[tuple[AppError, ...]] = (
    NotFound(),
    MethodNotAllowed("TRACE"),
    NotAcceptable(),
    RequestTimeout(),
    Conflict("Not done yet: The flag is in the code.", code="checklist_incomplete"),
    PreconditionFailed(),
    PayloadTooLarge(f"The request body is larger than {limits.BODY_BYTES.value:,} bytes."),
    UnsupportedMediaType('Unsupported media type "text/plain" in request.'),
    Throttled(7),
    Unavailable(),
)
_JSON: Final = "application/json"
# What endpoints of SDKs say of a body that they cannot read, by the tag of the operation.
_UNREADABLE: Final = {
    "Flags for SDKs": ValidationFailed(
        "Malformed request data: Invalid JSON: JSON is malformed: invalid character (byte 4)", code="malformed_data"
    ),
    "Capture": ValidationFailed(
        'Invalid payload: All events must have the event name field "event"!', code="invalid_payload", attr="event"
    ),
}


def add_error_examples(operation: JsonDict, schemas: JsonDict, scope: str | None) -> None:
    """Give each error of an operation an example that it really returns; ``scope`` is None without a key."""
    errors = {error.status: error for error in _ALIKE}
    errors[ValidationFailed.status] = _invalid(operation, schemas)
    if scope is None:
        errors[AuthenticationFailed.status] = AuthenticationFailed("Project API key invalid.", code="invalid_api_key")
    else:
        errors |= {NotAuthenticated.status: NotAuthenticated(), MissingScope.status: MissingScope(scope)}
    for status, response in operation["responses"].items():
        if status.isdigit() and int(status) in errors and _JSON in response.get("content", {}):
            response["content"][_JSON]["example"] = _body(errors[int(status)])


def _invalid(operation: JsonDict, schemas: JsonDict) -> AppError:
    content = operation.get("requestBody", {}).get("content", {})
    required = _required_field(content[_JSON].get("schema", {}), schemas) if _JSON in content else None
    is_public = "x-unknown-query-parameters" not in operation
    if is_public and content:
        return _UNREADABLE[operation["tags"][0]]
    if required is not None:
        return ValidationFailed("This field is required.", code="required", attr=required)
    if operation.get("x-unknown-query-parameters") == "refused":
        known = [one["name"] for one in operation.get("parameters", []) if one["in"] == "query"]
        return refusal_of_parameters(["colour"], known)
    return InvalidHost()


def _required_field(schema: JsonDict, schemas: JsonDict) -> str | None:
    """Return the first field of a body that has to be sent."""
    found = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    if "discriminator" in found:
        name: str = found["discriminator"]["propertyName"]
        return name
    required = found.get("required", [])
    return next((name for name in found.get("properties", {}) if name in required), None)


def _body(error: AppError) -> JsonDict:
    return ErrorBody(type=error.type, code=error.code, detail=error.detail, attr=error.attr).model_dump()
