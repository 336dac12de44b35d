"""The cookie of the pages, which holds the token of a session, and forms that other sites send.

Scripts cannot read the cookie, other sites cannot send it with a form, and the API ignores it.
"""

from typing import Final
from urllib.parse import urlsplit

from fastapi import Request, Response
from pydantic import HttpUrl

from app.accounts.browser_sessions.service import LIFETIME
from app.common.errors import PermissionDenied

PREFIX: Final = "/experiments"
SESSION_COOKIE: Final = "abacus_session"


def read_token(request: Request) -> str | None:
    return request.cookies.get(SESSION_COOKIE) or None


def keep_token(request: Request, response: Response, token: str) -> None:
    """Set the cookie with a session's token, which the browser keeps for as long as the session may last."""
    response.set_cookie(
        SESSION_COOKIE,
        token,
        max_age=int(LIFETIME.total_seconds()),
        path=_path(request),
        httponly=True,
        samesite="lax",
        secure=_is_encrypted(request),
    )


def drop_token(request: Request, response: Response) -> None:
    response.delete_cookie(
        SESSION_COOKIE, path=_path(request), httponly=True, samesite="lax", secure=_is_encrypted(request)
    )


def refuse_other_sites(request: Request) -> None:
    """Refuse a form that another site's page sent: every form of the pages passes through here.

    Browsers state where a form comes from: in ``Sec-Fetch-Site`` over HTTPS and on localhost, and in ``Origin``.
    A client that sends neither is not a browser.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        is_own = site in {"same-origin", "none"}
    else:
        is_own = origin is None or _host(origin) in _own_hosts(request)
    if not is_own:
        raise PermissionDenied("This form was sent from another site. Open the page here and try again.")


def read_destination(request: Request, address: str) -> str:
    """Return the page that a form asks to open next: one of these pages, whatever it asks for."""
    own = _path(request)
    is_own = address == own or address.startswith((f"{own}/", f"{own}?"))
    return address if is_own and address.isprintable() and "\\" not in address else f"{own}/"


def public_address(request: Request) -> str:
    """Return the address of the service as people and programs see it, without a slash at its end."""
    public_url = _public_url(request)
    if public_url is not None:
        return str(public_url).rstrip("/")
    root: str = request.scope.get("root_path", "")
    return f"{request.url.scheme}://{request.url.netloc}{root.rstrip('/')}"


def _own_hosts(request: Request) -> set[str | None]:
    return {request.url.netloc, _host(str(_public_url(request) or ""))} - {None}


def _host(address: str) -> str | None:
    try:
        return urlsplit(address).netloc or None
    except ValueError:  # not a URL
        return None


def _is_encrypted(request: Request) -> bool:
    """Whether the browser uses HTTPS, even if a proxy passes requests on without it."""
    public_url = _public_url(request)
    return "https" in {request.url.scheme, public_url.scheme if public_url else ""}


def _public_url(request: Request) -> HttpUrl | None:
    public_url: HttpUrl | None = request.app.state.settings.public_url
    return public_url


def _path(request: Request) -> str:
    root: str = request.scope.get("root_path", "")
    return root.rstrip("/") + PREFIX
