"""Authentication of pages: a personal API key in a cookie that only pages read.

The cookie holds the key itself: a revoked key signs the user out at once, and there is no session to store and no
secret to keep. Scripts cannot read it, other sites cannot send it with a form, and the API ignores it.
"""

from urllib.parse import urlsplit

from fastapi import Request, Response
from pydantic import HttpUrl

from app.common.errors import PermissionDenied

_COOKIE = "abacus_key"
_PREFIX = "/experiments"


def read_key(request: Request) -> str | None:
    return request.cookies.get(_COOKIE) or None


def keep_key(request: Request, response: Response, key: str) -> None:
    """Set the cookie with the key, which the browser keeps until it is closed."""
    response.set_cookie(_COOKIE, key, path=_path(request), httponly=True, samesite="lax", secure=_is_encrypted(request))


def drop_key(request: Request, response: Response) -> None:
    response.delete_cookie(_COOKIE, path=_path(request), httponly=True, samesite="lax", secure=_is_encrypted(request))


def refuse_other_sites(request: Request) -> None:
    """Refuse a form that another site's page sent.

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
    return root.rstrip("/") + _PREFIX
