"""The framework's floor: the least that an endpoint can do."""

from fastapi import FastAPI, Request


def floor() -> FastAPI:
    application = FastAPI()

    @application.get("/")
    async def greet() -> dict[str, str]:
        return {"hello": "world"}

    @application.post("/")
    async def read(request: Request) -> dict[str, int]:
        await request.body()
        return {"status": 1}

    return application
