"""Signing in and out of the pages, and the list of sessions."""

from collections.abc import Mapping
from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from app.accounts.auth.api_keys import Credential
from app.accounts.auth.scopes import scope_for
from app.accounts.auth.service import AuthenticationService
from app.accounts.browser_sessions.dependencies import build_browser_sessions
from app.accounts.browser_sessions.service import LIFETIME
from app.common.errors import AuthenticationFailed
from app.http.dependencies import get_database
from app.pages.credentials import PREFIX, drop_token, keep_token, read_destination, read_token
from app.pages.dependencies import PageAccessDep
from app.pages.reading_forms import read_form
from app.pages.routing import PageRoute, link_from, show

router = APIRouter(prefix=PREFIX, include_in_schema=False, route_class=PageRoute)

_MAX_FORM_BYTES: Final = 16 * 1024
_INVALID_KEY: Final = "Invalid API key. It may be mistyped or revoked, or the user may be deactivated."


@router.get("/sign-in/")
async def show_sign_in(request: Request, link: str = "") -> HTMLResponse:
    """Return the form to sign in. A link is used up by the button only: programs look at links in mails, too."""
    home = link_from(request)("open_experiments")
    if link:
        return await show(request, "sign_in_link.html", token=link)
    return await show(request, "sign_in.html", problem="", destination=home)


@router.post("/sign-in/")
async def sign_in(request: Request) -> Response:
    """Begin a session for a valid key, or for a link, and open the page that asked for it."""
    form = await read_form(request, _MAX_FORM_BYTES)
    destination = read_destination(request, form.get("next", ""))
    try:
        token = await (_follow_link if form.get("link") else _use_key)(request, form)
    except AuthenticationFailed as refusal:  # the page that was asked for is not forgotten
        return await show(request, "sign_in.html", refusal.status, problem=refusal.detail, destination=destination)
    response = RedirectResponse(destination, status_code=303)
    keep_token(request, response, token)
    return response


async def _follow_link(request: Request, form: Mapping[str, str]) -> str:
    async with get_database(request).write() as session:
        return await build_browser_sessions(session).follow_link(form["link"], _browser_of(request))


async def _use_key(request: Request, form: Mapping[str, str]) -> str:
    database = get_database(request)
    try:
        key = Credential(form.get("key", "").strip(), "form")
        access = await AuthenticationService(database).authenticate(key, None)
        access.require(scope_for("experiment", "GET"))
        async with database.write() as session:
            return await build_browser_sessions(session).begin(access.user, access.source[1], _browser_of(request))
    except AuthenticationFailed as error:
        raise AuthenticationFailed(_INVALID_KEY) from error


def _browser_of(request: Request) -> str:
    return request.headers.get("user-agent", "")


@router.post("/sign-out/")
async def sign_out(request: Request) -> Response:
    token = read_token(request)
    if token is not None:
        async with get_database(request).write() as session:
            await build_browser_sessions(session).end_with_token(token)
    response = RedirectResponse(link_from(request)("open_experiments"), status_code=303)
    drop_token(request, response)
    return response


@router.get("/sessions/")
async def show_sessions(request: Request, access: PageAccessDep) -> HTMLResponse:
    async with get_database(request).read() as session:
        sessions = await build_browser_sessions(session).list_own(access)
    return await show(
        request, "sessions.html", sessions=sessions, own=access.source[1], user=access.user, days=LIFETIME.days
    )


@router.post("/sessions/{session_id}/end/")
async def end_session(request: Request, access: PageAccessDep, session_id: str) -> Response:
    async with get_database(request).write() as session:
        await build_browser_sessions(session).end(access, session_id)
    return RedirectResponse(link_from(request)("show_sessions"), status_code=303)
