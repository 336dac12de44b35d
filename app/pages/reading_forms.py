"""Reads the forms of the pages."""

from collections.abc import Mapping
from typing import Final

from fastapi import Request

from app.common import limits
from app.http.request_body import read_document

MAX_FORM_BYTES: Final = limits.BODY_BYTES.value


async def read_form(request: Request, limit: int = MAX_FORM_BYTES) -> Mapping[str, str]:
    """Return the texts of a form; what is no form has none."""
    document = await read_document(request, limit)
    if not isinstance(document, dict):
        return {}
    return {name: value for name, value in document.items() if isinstance(value, str)}
