"""The application and its OpenAPI document, built once per process: that takes seconds."""

from collections.abc import Mapping
from functools import cache

from fastapi import FastAPI

from app.main import create_app
from app.settings import Settings
from tests.support.service import Json

PROJECT = "/api/projects/{project_id}/"
Route = tuple[str, str]  # method and path, as the document writes it


@cache
def application() -> FastAPI:
    return create_app(Settings(refresh_interval=0, watchdog_seconds=0))


@cache
def operations() -> Mapping[Route, Json]:
    """Return what the document says of every operation."""
    return {
        (method.upper(), path): operation
        for path, described in application().openapi()["paths"].items()
        for method, operation in described.items()
    }


def private_routes() -> list[Route]:
    """Return the operations that take a key."""
    return [route for route, operation in operations().items() if "security" in operation]


def routes_of_projects() -> list[Route]:
    return [(method, path) for method, path in private_routes() if path.startswith(PROJECT)]


def routes_of_objects() -> list[Route]:
    """Return the operations that name an object of a project."""
    return [(method, path) for method, path in routes_of_projects() if "{" in path.removeprefix(PROJECT)]


def takes_json(route: Route) -> bool:
    return "application/json" in operations()[route].get("requestBody", {}).get("content", {})


def example_body(route: Route) -> Json:
    return operations()[route]["requestBody"]["content"]["application/json"]["example"] if takes_json(route) else None
