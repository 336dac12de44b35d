"""The service with one more path, which returns what the service knows of a request."""

from fastapi import FastAPI, Request

from app.main import create_app


def create() -> FastAPI:
    application = create_app()

    async def show_request(request: Request) -> dict[str, object]:
        return {
            "client": request.client.host if request.client else None,
            "scheme": request.url.scheme,
            "host": request.headers.get("host"),
            "prefix": request.scope["root_path"],
            "forwarded": [name for name in request.headers if name in {"forwarded", "x-forwarded-prefix"}],
        }

    application.add_api_route("/echo/", show_request)
    return application
