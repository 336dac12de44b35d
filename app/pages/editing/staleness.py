"""Refuses forms that would overwrite what another person changed since they were opened."""

import hashlib
import json

from app.common.errors import Conflict
from app.pages.editing.rows import Fields


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
