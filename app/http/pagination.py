"""Pagination by limit and offset, with links between pages."""

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

from fastapi import Depends, Query, Request
from pydantic import WithJsonSchema

from app.common import limits
from app.http.query_params import PERSONAL_API_KEY
from app.http.routing import path_as_sent
from app.http.schemas import Page

DEFAULT_LIMIT = 100
Item = TypeVar("Item")

MAX_COUNT = 2**31 - 1  # longer than any list; the sum of two still fits the databases' 64 bits


def read_count(text: str | None, default: int, *, minimum: int) -> int:
    """Read an integer from the query string; an invalid value means the default, never an error."""
    try:
        number = int(text or "")
    except ValueError:
        return default
    return min(number, MAX_COUNT) if number >= minimum else default


def read_limit(text: str | None) -> int:
    """Read the number of items of a page: at most ``limits.PAGE_ITEMS``."""
    return min(read_count(text, DEFAULT_LIMIT, minimum=1), limits.PAGE_ITEMS.value)


class Links:
    """Absolute URLs of the current request with some query parameters replaced."""

    def __init__(self, request: Request) -> None:
        self._request = request

    def replacing(self, **changes: str | None) -> str:
        """Return the URL with parameters changed (None removes one), sorted by name."""
        # Links are logged and shared: a key that a client sent in the query string must not appear in them.
        left_out = {PERSONAL_API_KEY, *changes}
        kept = [(name, value) for name, value in self._request.query_params.multi_items() if name not in left_out]
        new = [(name, value) for name, value in changes.items() if value is not None]
        # Values of one name stay in the order in which they were sent.
        return f"{self._address()}?{urlencode(sorted(kept + new, key=lambda parameter: parameter[0]))}"

    def _address(self) -> str:
        public_url = self._request.app.state.settings.public_url
        path = path_as_sent(self._request)
        if public_url is not None:
            return str(public_url).rstrip("/") + path.removeprefix(self._request.scope.get("root_path", ""))
        url = self._request.base_url  # parsed URLs are cached, and queries name persons
        return f"{url.scheme}://{url.netloc}{path}"


# Documented as a number; any other text is accepted and means the default.
LimitText = Annotated[
    str | None,
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string"}], "default": DEFAULT_LIMIT}),
    Query(
        description="Maximum number of results, at most 1,000. A value that is not a positive integer means the "
        "default. A page ends early where its items are large; `next` leads on."
    ),
]
OffsetText = Annotated[
    str | None,
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string"}], "default": 0}),
    Query(description="Number of results to skip. A value that is not a non-negative integer means 0."),
]


class Pagination:
    """The page of a list that a request asks for, with links to the next and the previous one."""

    def __init__(self, request: Request, limit: str | None, offset: str | None) -> None:
        self.limit = read_limit(limit)
        self.offset = read_count(offset, 0, minimum=0)
        self._links = Links(request)

    def page(self, count: int, results: Sequence[Item]) -> Page[Item]:
        """Return the body of one page of ``count`` items."""
        return Page[Any].model_construct(**self.envelope(count, results))

    def envelope(self, count: int, results: Sequence[object]) -> dict[str, Any]:
        """Return the members of a page, for items that are encoded already."""
        return {"count": count, "next": self.next(count, len(results)), "previous": self.previous(), "results": results}

    def next(self, count: int, shown: int) -> str | None:
        """Return the URL of the first item after the ``shown`` ones; a page may end early where items are large."""
        following = self.offset + (shown or self.limit)
        return None if following >= count else self._link(following)

    def after(self, cursor: str, offset: int) -> str:
        """Return the URL of the page that begins after an item and skips others."""
        skipped = str(offset) if offset > 0 else None
        return self._links.replacing(limit=str(self.limit), offset=skipped, cursor=cursor)

    def previous(self) -> str | None:
        return None if self.offset <= 0 else self._link(self.offset - self.limit)

    def _link(self, offset: int) -> str:
        return self._links.replacing(limit=str(self.limit), offset=str(offset) if offset > 0 else None)


async def get_pagination(request: Request, limit: LimitText = None, offset: OffsetText = None) -> Pagination:
    return Pagination(request, limit, offset)


PaginationDep = Annotated[Pagination, Depends(get_pagination)]
