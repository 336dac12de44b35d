"""Records what the clients send, for tests that replay it without them: ``python -m tests.clients.record``.

Two users visit a shop with every client. What comes is written
below ``tests/support/recorded``, one file for each client.
"""

import asyncio
import base64
import json
import os
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import uvicorn
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.main import create_app
from app.settings import Settings
from tests.clients.clients import CLIENTS, MODULES, SNIPPET, Visits
from tests.clients.test_clients import FLAGS, USERS, create_experiments
from tests.support.ports import free_port
from tests.support.recorded import FOLDER, TOKEN
from tests.support.service import Service
from tests.test_cli import abacus, wait_until_ready


class Recorder:
    """Passes requests on to an application, and keeps those that bring something."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.requests: list[dict[str, Any]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        messages: list[Message] = [await receive()]
        while messages[-1].get("more_body"):
            messages.append(await receive())
        headers = Headers(scope=scope)
        self.requests.append(
            {
                "path": scope["path"],
                "query": scope["query_string"].decode(),
                "headers": {name: headers[name] for name in ("content-type", "content-encoding") if name in headers},
                "body": base64.b64encode(b"".join(message.get("body", b"") for message in messages)).decode(),
            }
        )

        async def replay() -> Message:
            return messages.pop(0) if messages else await receive()

        await self._app(scope, replay, send)


async def record(folder: Path) -> None:
    environment = {**os.environ, "ABACUS_DATABASE_URL": f"sqlite:///{folder / 'abacus.db'}"}
    made = json.loads(
        abacus(environment, "project", "create", "--name", "Shop", "--email", "ann@example.com", "--json")
    )
    with sqlite3.connect(folder / "abacus.db") as connection:
        connection.execute("UPDATE project SET api_token = ?", [TOKEN])
    settings = Settings(
        database_url=environment["ABACUS_DATABASE_URL"], static_directory=MODULES / "posthog-js" / "dist"
    )
    recorder = Recorder(create_app(settings))
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(recorder, port=port, log_level="warning"))
    serving = asyncio.create_task(server.serve())
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        shop = Service(client, made["project_id"], TOKEN, made["personal_api_key"])
        await asyncio.to_thread(wait_until_ready, str(client.base_url))
        await create_experiments(shop)
        for name, visit in CLIENTS.items():
            if name == SNIPPET:  # another way to the same SDK
                continue
            recorder.requests.clear()
            profile = folder / name
            profile.mkdir()
            await asyncio.to_thread(visit, Visits(str(client.base_url), TOKEN, USERS[:2], FLAGS, profile))
            file = FOLDER / f"{name.replace(' ', '-')}.json"
            file.write_text(json.dumps(recorder.requests, indent=1) + "\n")
            print(file.name, [request["path"] for request in recorder.requests])  # noqa: T201  # tells its user
    server.should_exit = True
    await serving


if __name__ == "__main__":
    with TemporaryDirectory(ignore_cleanup_errors=True) as name:
        asyncio.run(record(Path(name)))
