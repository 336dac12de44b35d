"""The application with a route that never returns to the event loop."""

import time

from fastapi import FastAPI

from app import main


def create_app() -> FastAPI:
    application = main.create_app()

    @application.get("/block/")
    async def block() -> None:
        time.sleep(3600)  # noqa: ASYNC251  # which is what the watchdog is for

    return application
