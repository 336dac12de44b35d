"""Refuses forms that would overwrite what another person changed since they were opened."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from app.common.errors import Conflict
from app.pages.editing.rows import Fields

Item = TypeVar("Item")
Read_co = TypeVar("Read_co", covariant=True)


class _Items(Protocol[Read_co]):
    """The service of a kind of items."""

    async def get(self, reference: str, *, for_update: bool = False) -> Read_co: ...


@dataclass(frozen=True)
class Versions(Generic[Item]):
    """The versions of a kind of items, of which forms show one in the field ``seen``.

    Attributes
    ----------
    thing : str
        What pages call one of them, such as ``holdout``.
    of : callable
        Returns what tells the present version of an item from others.
    """

    thing: str
    of: Callable[[Item], str]

    async def lock(self, items: _Items[Item], item_id: int, fields: Fields) -> Item:
        """Return an item for a change, unless it is another one than the form showed."""
        locked = await items.get(str(item_id), for_update=True)
        refuse_stale(fields, self.of(locked), self.thing)
        return locked

    async def lock_to_delete(self, items: _Items[Item], item_id: int, fields: Fields) -> Item:
        """Return an item to delete, unless it is another one than the question was about."""
        locked = await items.get(str(item_id), for_update=True)
        refuse_stale_deletion(fields, self.of(locked), self.thing)
        return locked


def version_of(document: object) -> str:
    """Return what tells a JSON document from what another person stored meanwhile."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def refuse_stale(fields: Fields, now: str, thing: str) -> None:
    """Refuse a form whose field ``seen`` is not the version of ``thing`` that is stored ``now``."""
    if fields.get("seen") != now:
        raise Conflict(
            f"This {thing} was changed by another person since this form was opened. Your input is kept: compare it "
            f"with the {thing}, and save again to replace what they changed."
        )


def refuse_stale_deletion(fields: Fields, now: str, thing: str) -> None:
    """Refuse to delete another version of ``thing`` than a form showed."""
    if fields.get("seen") != now:
        raise Conflict(
            f"This {thing} was changed by another person since you wanted to delete it. This is the changed one: "
            "delete it again if you still want to."
        )
