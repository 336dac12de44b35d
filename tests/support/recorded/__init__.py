"""What PostHog's own clients sent, byte for byte, when two users visited a shop: see ``tests/clients/record.py``."""

import base64
import gzip
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
from sqlalchemy import update

from app.db.database import Database
from app.db.models import Project
from tests.support.service import Service

FOLDER = Path(__file__).parent
TOKEN = "phc_recorded"  # noqa: S105  # a public one

Document = dict[str, Any] | list[dict[str, Any]]


@dataclass(frozen=True)
class RecordedRequest:
    client: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Document:
        """What the client means, read without the code under test."""
        text = gzip.decompress(self.body) if self.body.startswith(b"\x1f\x8b") else self.body
        if text.startswith(b"data="):
            text = base64.b64decode(parse_qs(text.decode())["data"][0])
        document: Document = json.loads(text)
        return document

    async def replay(self, client: httpx.AsyncClient, path: str, query: str | None = None) -> httpx.Response:
        """Send it as it was, to another address."""
        address = f"{path}?{self.query if query is None else query}"
        return await client.post(address, content=self.body, headers={**self.headers, "Origin": "http://shop.test"})


def events_of(document: Document) -> list[dict[str, Any]]:
    if isinstance(document, list):
        return document
    events: list[dict[str, Any]] = document.get("batch", [document])
    return events


async def under_recorded_token(service: Service, database: Database) -> Service:
    """Let the project be the one that the clients spoke to."""
    async with database.write() as session:
        await session.execute(update(Project).where(Project.id == service.project_id).values(api_token=TOKEN))
    return replace(service, token=TOKEN)


def _load(file: Path) -> list[RecordedRequest]:
    return [
        RecordedRequest(file.stem, one["path"], one["query"], one["headers"], base64.b64decode(one["body"]))
        for one in json.loads(file.read_text())
    ]


_REQUESTS = [request for file in sorted(FOLDER.glob("*.json")) for request in _load(file)]
FLAGS_REQUESTS = [request for request in _REQUESTS if request.path in {"/flags/", "/decide/"}]
CAPTURE_REQUESTS = [request for request in _REQUESTS if request not in FLAGS_REQUESTS]
