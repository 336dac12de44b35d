"""A started server with PostHog's browser SDK below /static/, and a project of its own for every test."""

import json
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import httpx
import pytest

from tests.clients.clients import MODULES
from tests.support.service import Service
from tests.test_cli import abacus, served


@dataclass(frozen=True)
class Abacus:
    address: str
    key: str


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Abacus]:
    environment = {
        **os.environ,
        "ABACUS_DATABASE_URL": f"sqlite:///{tmp_path_factory.mktemp('server') / 'abacus.db'}",
        "ABACUS_STATIC_DIRECTORY": str(MODULES / "posthog-js" / "dist"),
    }
    made = abacus(environment, "project", "create", "--name", "First", "--email", "ann@example.com", "--json")
    with served(environment) as address:
        yield Abacus(address, json.loads(made)["personal_api_key"])


@pytest.fixture
async def shop(started: Abacus) -> AsyncIterator[Service]:
    """A new project."""
    async with httpx.AsyncClient(base_url=started.address) as client:
        authorization = {"Authorization": f"Bearer {started.key}"}
        response = await client.post("/api/projects/", json={"name": "Shop"}, headers=authorization)
        project = response.raise_for_status().json()
        yield Service(client, project["id"], project["api_token"], started.key)
