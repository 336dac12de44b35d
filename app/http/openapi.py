"""Completes the OpenAPI document: security, request bodies that endpoints read themselves, errors, examples."""

import contextlib
import functools
import json
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from app.http.openapi_errors import add_error_examples
from app.http.openapi_examples import compose
from app.http.request_body import body_model
from app.http.schemas import ErrorBody
from app.http.strictness import Policy, policy_of

JsonDict = dict[str, Any]  # a piece of OpenAPI

_REFERENCE = "#/components/schemas/{model}"

# A key may also be in the body or in the query string, which the scheme cannot express.
_KEY_SCHEME = {
    "PersonalAPIKey": {"type": "http", "scheme": "bearer", "description": "A personal API key, `phx_…`."},
}

DOCUMENT = "/openapi.json"
REQUIRED = "x-required"  # in the schema of a parameter

_TAG = {"description": "Identifies this state of the answer.", "schema": {"type": "string"}}
_KNOWN_TAG = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "An `ETag` that the client has: the answer is 304, without a body, if it is still the same.",
    "schema": {"type": "string"},
}

_STATUS_DESCRIPTIONS = {
    400: "The request is invalid; `attr` names the field, if there is one.",
    401: "The key is missing or invalid.",
    403: "The key lacks the required scope.",
    404: "The object does not exist.",
    405: "The path does not support the method; `Allow` lists those that it does.",
    406: "The `Accept` header excludes JSON.",
    408: "The body did not arrive in time.",
    409: "The state of the object does not allow it: `code` says why.",
    412: "The object has changed since it was read: its `ETag` differs.",
    413: "The body is too large.",
    415: "The body is neither JSON nor a form.",
    429: "Too many requests: retry after the seconds in `Retry-After`.",
    503: "The database is unavailable or busy: retry after the seconds in `Retry-After`.",
}


def error_responses(*statuses: int) -> dict[int | str, JsonDict]:
    """Return the documentation of error responses, for ``responses=`` of a router."""
    return {status: {"model": ErrorBody, "description": _STATUS_DESCRIPTIONS[status]} for status in statuses}


def install(
    application: FastAPI, routers: Iterable[APIRouter], required_scope: Callable[[APIRoute, str], str | None]
) -> None:
    """Install the completed document. It is built once, and encoded once for each prefix, at the first request."""
    scopes = {
        (route.path, method.lower()): required_scope(route, method)
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
    bodies = {
        (route.path, method.lower()): model for route, model in _bodies(routers) for method in route.methods or ()
    }

    policies = {
        (route.path, method.lower()): policy_of(route)
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }

    def build() -> JsonDict:
        if application.openapi_schema is None:
            document = get_openapi(
                title=application.title,
                version=application.version,
                description=application.description,
                routes=application.routes,
                tags=application.openapi_tags,
            )
            _without_validation_errors(document)
            _with_bodies(document, bodies)
            _with_keys(document, scopes)
            _with_policies(document, policies)
            _with_tags_of_reads(document, scopes)
            _with_nulls_of_examples(document, routers)
            _with_required_parameters(document)
            _with_error_examples(document, scopes)
            application.openapi_schema = _with_examples(document)
        return application.openapi_schema

    @functools.lru_cache(maxsize=4)  # encoding takes 60 ms, in which no other request is served
    def encode(prefix: str) -> bytes:
        servers = {"servers": [{"url": prefix}]} if prefix else {}
        return json.dumps({**build(), **servers}, ensure_ascii=False, separators=(",", ":")).encode()

    async def retrieve(request: Request) -> Response:
        return Response(encode(request.scope.get("root_path", "")), media_type="application/json")

    application.openapi = build  # type: ignore[method-assign]  # the framework's documented way
    application.add_route(DOCUMENT, retrieve, include_in_schema=False)


def _bodies(routers: Iterable[APIRouter]) -> Iterator[tuple[APIRoute, type[BaseModel]]]:
    for router in routers:
        for route in router.routes:
            model = body_model(route.dependant) if isinstance(route, APIRoute) else None
            if isinstance(route, APIRoute) and model is not None:
                yield route, model


def _without_validation_errors(document: JsonDict) -> JsonDict:
    """Remove the framework's 422, which it adds wherever there are parameters: this service uses 400 and 404."""
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
    return document


def _with_keys(document: JsonDict, scopes: Mapping[tuple[str, str], str | None]) -> JsonDict:
    """Declare which operations require a key, and with which scope, so that "Authorize" in /docs sends it."""
    document["components"]["securitySchemes"] = _KEY_SCHEME
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if (path, method) in scopes:
                scope = scopes[path, method]
                operation["security"] = [{name: [scope] if scope else [] for name in _KEY_SCHEME}]
                operation["description"] += f"\n\nThe key needs the scope `{scope}`."
    return document


def _with_tags_of_reads(document: JsonDict, private: Container[tuple[str, str]]) -> JsonDict:
    """Document the ``ETag`` and the 304 of all JSON that a private GET returns."""
    for path, operations in document["paths"].items():
        operation = operations.get("get") if (path, "get") in private else None
        if operation is not None and "application/json" in operation["responses"]["200"].get("content", {}):
            operation["responses"]["200"].setdefault("headers", {}).setdefault("ETag", _TAG)
            operation["responses"].setdefault("304", {"description": "The client has this state already."})
            parameters = operation.setdefault("parameters", [])
            if not any(parameter["name"].lower() == "if-none-match" for parameter in parameters):
                parameters.append(_KNOWN_TAG)
    return document


def _with_policies(document: JsonDict, policies: Mapping[tuple[str, str], Policy]) -> JsonDict:
    """Say what happens to query parameters that an operation does not declare."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if (path, method) in policies:
                operation["x-unknown-query-parameters"] = policies[path, method]
    return document


def _with_bodies(document: JsonDict, bodies: Mapping[tuple[str, str], type[BaseModel]]) -> JsonDict:
    _, definitions = models_json_schema(
        [(model, "validation") for model in dict.fromkeys(bodies.values())], ref_template=_REFERENCE
    )
    for name, schema in definitions.get("$defs", {}).items():
        document["components"]["schemas"][name] = _without_defaults(schema)
    for (path, method), model in bodies.items():
        schema = {"$ref": _REFERENCE.format(model=model.__name__)}
        document["paths"][path][method]["requestBody"] = {
            "required": "required"
            in document["components"]["schemas"][model.__name__],  # an empty body is an empty object
            "content": {"application/json": {"schema": schema}},
        }
    return document


def _with_nulls_of_examples(document: JsonDict, routers: Iterable[APIRouter]) -> JsonDict:
    """Restore the examples that routes declare: the framework removes every null from them."""
    for router in routers:
        for route in router.routes:
            if isinstance(route, APIRoute) and route.include_in_schema:
                for method in route.methods or ():
                    _restore_examples(document["paths"][route.path][method.lower()]["responses"], route.responses)
    return document


def _restore_examples(described: JsonDict, declared: Mapping[int | str, JsonDict]) -> None:
    for status, response in declared.items():
        for media_type, media in response.get("content", {}).items():
            if "examples" in media:
                described[str(status)]["content"][media_type]["examples"] = media["examples"]


def _with_required_parameters(document: JsonDict) -> JsonDict:
    """Declare parameters as required whose absence the endpoint itself refuses, with the error body of this service."""
    for operations in document["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                if parameter["schema"].pop(REQUIRED, False):
                    parameter["required"] = True
    return document


def _with_error_examples(document: JsonDict, scopes: Mapping[tuple[str, str], str | None]) -> JsonDict:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            add_error_examples(operation, document["components"]["schemas"], scopes.get((path, method)))
    return document


def _with_examples(document: JsonDict) -> JsonDict:
    """Add a complete example to every body: not all tools compose one from the examples of fields."""
    schemas = document["components"]["schemas"]
    for operations in document["paths"].values():
        for operation in operations.values():
            responses = [response for status, response in operation["responses"].items() if status < "400"]
            for body in (operation.get("requestBody", {}), *responses):
                media = body.get("content", {}).get("application/json", {})
                if "schema" in media and not media.keys() & {"example", "examples"}:
                    with contextlib.suppress(LookupError):  # then there is none, and a test names it
                        media["example"] = compose(media["schema"], schemas)
    return document


def _without_defaults(schema: JsonDict) -> JsonDict:
    """Remove the defaults of fields: an omitted field of an update stays as it is."""
    for field in schema.get("properties", {}).values():
        field.pop("default", None)
    return schema
