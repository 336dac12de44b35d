"""Responses of pages: their headers, and errors as pages."""

from collections.abc import Callable, Coroutine
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute

from app.common.errors import AppError, AuthenticationFailed, NotAuthenticated, StillCounting, Unavailable
from app.db.errors import DATABASE_ERRORS, is_transient_database_error
from app.http.exception_handlers import report_unavailable
from app.pages import rendering
from app.pages.credentials import drop_token, read_token, refuse_other_sites
from app.pages.visits import Visit

Link = Callable[..., str]

_SIGN_IN: Final = "sign_in.html"


class PageRoute(APIRoute):
    """A route that responds to errors with pages, under the same headers as to successful requests."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def answer_with_a_page(request: Request) -> Response:
            try:
                if request.method == "POST":
                    refuse_other_sites(request)
                response = await answer(request)
            except AppError as refusal:
                if isinstance(refusal, Unavailable) and not isinstance(refusal, StillCounting):
                    report_unavailable(request, refusal)
                response = await _refuse(request, refusal)
            except DATABASE_ERRORS as error:
                if not is_transient_database_error(error):
                    raise
                report_unavailable(request, error)
                response = await _refuse(request, Unavailable())
            _protect(response)
            return response

        return answer_with_a_page


def link_from(request: Request) -> Link:
    """Return the function that builds links to pages: paths only, because the public host may be another one."""
    application, prefix = request.app, request.base_url.path.rstrip("/")

    def link(name: str, /, **parameters: object) -> str:
        return prefix + _path_of(application, name, tuple(parameters.items()))

    return link


@lru_cache(maxsize=1024)
def _path_of(application: FastAPI, name: str, parameters: tuple[tuple[str, object], ...]) -> str:
    """Return the path of a route, of which a page links to dozens; to find one takes a quarter of a millisecond."""
    return str(application.url_path_for(name, **dict(parameters)))


def back_to(request: Request, visit: Visit, name: str) -> RedirectResponse:
    """Return the answer to a form that was saved: its visitor sees a page of the project."""
    return RedirectResponse(link_from(request)(name, project_id=visit.project.id), status_code=303)


async def show(request: Request, template: str, status: int = 200, **values: object) -> HTMLResponse:
    return HTMLResponse(await rendering.render(template, link=link_from(request), **values), status)


async def _refuse(request: Request, refusal: AppError) -> Response:
    if isinstance(refusal, NotAuthenticated):  # not signed in yet: a form to do so, not an error
        return await show(request, _SIGN_IN, problem="", destination=_destination(request))
    if isinstance(refusal, AuthenticationFailed):
        response = await show(
            request, _SIGN_IN, refusal.status, problem=refusal.detail, destination=_destination(request)
        )
        if read_token(request) is not None:
            drop_token(request, response)
        return response
    if isinstance(refusal, StillCounting):  # nothing is wrong: the page is on its way
        response = await show(request, "counting.html", HTTPStatus.ACCEPTED, refusal=refusal)
    else:
        response = await show(request, "refusal.html", refusal.status, refusal=refusal)
    response.headers.update(refusal.headers)
    return response


def _destination(request: Request) -> str:
    """Return the page to open after signing in: the one that was asked for."""
    if request.method != "GET":
        return link_from(request)("open_experiments")
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def _protect(response: Response) -> None:
    response.headers["Content-Security-Policy"] = rendering.content_policy()
    # With "no-referrer" browsers would not state from which site a form comes.
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
