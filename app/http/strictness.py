"""What a request says that is not understood: refused where no client of 2022 depends on it, else reported.

Endpoints and bodies that are younger than 2022 refuse unknown query parameters and unknown fields. Those of 2022 ignore
both, as then, and name them in a ``Warning`` header. Endpoints of SDKs ignore them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, TypeAlias

from fastapi import Request, params
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute

from app.common.errors import ValidationFailed
from app.http.query_params import PERSONAL_API_KEY
from app.http.routing import is_general
from app.http.unknown_names import name_some

Policy: TypeAlias = Literal["refused", "reported", "ignored"]

LISTED: Final = "warnings"  # the texts in answers to changes, which clients may send back
WARNINGS: Final = "abacus.warnings"  # in a request's scope: texts for the ``Warning`` header
# What every private endpoint reads: the key, and the format of the response.
_GENERAL: Final = frozenset({PERSONAL_API_KEY, "format"})


async def _of_2022() -> None:
    """A mark of routes; see ``policy_of``."""


async def _of_sdks() -> None:
    """A mark of routes; see ``policy_of``."""


# Marks for ``dependencies=`` of a router or a route. Without one, unknown query parameters are refused.
OF_2022: Final = params.Depends(_of_2022)
OF_SDKS: Final = params.Depends(_of_sdks)


def policy_of(route: APIRoute) -> Policy:
    """Return what happens to query parameters that the route does not declare."""
    marks = {dependency.dependency for dependency in route.dependencies}
    if _of_sdks in marks or is_general(route):
        return "ignored"
    return "reported" if _of_2022 in marks else "refused"


def known_parameters(route: APIRoute) -> Sequence[str]:
    """Return the names of the query parameters that the route and its dependencies declare, in their order."""
    found = (field for field in get_flat_params(route.dependant) if isinstance(field.field_info, params.Query))
    return tuple(dict.fromkeys(field.alias for field in found))


def check_query(request: Request) -> None:
    """Refuse or report the query parameters that the request's route does not declare.

    Raises
    ------
    ValidationFailed
        When the route is younger than 2022.
    """
    route = request.scope.get("route")
    if not request.query_params or not isinstance(route, APIRoute):
        return
    known = known_parameters(route)
    unknown = [name for name in request.query_params if name not in known and name not in _GENERAL]
    policy = policy_of(route)
    if not unknown or policy == "ignored":
        return
    if policy == "reported":
        report(request, f"Ignored unknown query parameters: {name_some(unknown)}.")
        return
    raise refusal_of_parameters(unknown, known)


def refusal_of_parameters(unknown: Sequence[str], known: Sequence[str]) -> ValidationFailed:
    """Return the error that names unknown query parameters, and those that there are."""
    choice = f"known are {', '.join(known)}" if known else "this endpoint takes none"
    detail = f"Unknown query parameters: {name_some(unknown)}; {choice}."
    return ValidationFailed(detail, code="unknown_parameter", attr=unknown[0][:100])


def report_unknown_fields(request: Request, document: Iterable[str], known: Iterable[str]) -> None:
    """Report the fields of a body of 2022 that are ignored."""
    understood = {PERSONAL_API_KEY, LISTED, *known}
    unknown = [name for name in document if name not in understood]
    if unknown:
        report(request, f"Ignored unknown fields of the body: {name_some(unknown)}.")


def report_unknown_values(request: Request, values: Mapping[str, str]) -> None:
    """Report the query parameters of 2022, by name, whose values are ignored."""
    if values:
        shown = ", ".join(f"{name} {name_some([value])}" for name, value in values.items())
        report(request, f"Ignored unknown values of query parameters: {shown}.")


def report(request: Request, text: str) -> None:
    """Add a text of ASCII characters to the ``Warning`` header of the response."""
    request.scope.setdefault(WARNINGS, []).append(text)
