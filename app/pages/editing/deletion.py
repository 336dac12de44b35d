"""The page that asks before something is deleted for good."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import Request
from fastapi.responses import HTMLResponse

from app.pages.routing import show
from app.pages.visits import Visit


@dataclass(frozen=True)
class Deletion:
    """What is to be deleted.

    Attributes
    ----------
    thing : str
        What it is, such as ``holdout``.
    name : str
        Its own name.
    consequences : sequence of str
        What follows, in sentences.
    page : str
        The address of its page.
    listed_at : str
        The address of the list of all of them.
    list_title : str
        The title of that list.
    objection : str
        What speaks against it, and has to be known; empty where nothing does.
    """

    thing: str
    name: str
    consequences: Sequence[str]
    page: str
    listed_at: str
    list_title: str
    objection: str = ""


async def ask_to_delete(
    request: Request, visit: Visit, deletion: Deletion, seen: str, *, status: int = 200
) -> HTMLResponse:
    """Return the question; its answer is the form's ``sure``, with the version that was ``seen``."""
    return await show(request, "deletion.html", status, visit=visit, deletion=deletion, seen=seen)
