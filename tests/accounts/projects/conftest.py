import httpx
import pytest

from app.db.database import Database
from tests.conftest import new_service
from tests.support.service import Service


@pytest.fixture
async def neighbor(service: Service, client: httpx.AsyncClient, database: Database) -> Service:
    """Another project of the same organization and user."""
    return await new_service(client, database, beside=service)


@pytest.fixture
async def stranger(service: Service, client: httpx.AsyncClient, database: Database) -> Service:
    """A project of another organization and user."""
    return await new_service(client, database)
