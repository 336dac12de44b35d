import httpx
import pytest

from app.accounts.projects.service import AccountService
from app.db.database import Database
from tests.conftest import new_service
from tests.support.service import Service


@pytest.fixture
async def neighbor(service: Service, client: httpx.AsyncClient, database: Database) -> Service:
    """Another project of the same organization and user."""
    return await new_service(client, database)


@pytest.fixture
async def stranger(service: Service, client: httpx.AsyncClient, database: Database) -> Service:
    """A project of another organization and user."""
    async with database.write() as session:
        made = await AccountService(session).set_up_project(
            name="Rival", email="bob@example.org", organization_name="Rivals", timezone="UTC"
        )
    return Service(client, made.project.id, made.project.api_token, made.personal_api_key)
