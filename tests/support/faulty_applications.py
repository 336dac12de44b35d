"""Applications that do not serve as they should."""

import contextlib
import time

from fastapi import FastAPI

from app import main


def create_blocking() -> FastAPI:
    """The application with a route that never returns to the event loop."""
    application = main.create_app()

    @application.get("/block/")
    async def block() -> None:
        time.sleep(3600)  # noqa: ASYNC251  # which is what the watchdog is for

    return application


def create_failing() -> FastAPI:
    """An application that cannot start."""

    def fail(_application: FastAPI) -> contextlib.AbstractAsyncContextManager[None]:
        raise RuntimeError("cannot start")

    return FastAPI(lifespan=fail)
