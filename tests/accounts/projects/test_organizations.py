import httpx
import pytest
from sqlalchemy import delete

from app.accounts.projects.repository import AccountRepository
from app.accounts.projects.service import AccountService
from app.db.database import Database
from app.db.models import OrganizationMembership
from tests.accounts.projects.test_isolation import NOT_FOUND
from tests.support.service import Json, Service

ORGANIZATIONS = "/api/organizations/"
ADDRESSES = ["{id}/", "{id}/members/"]


async def get(service: Service, path: str) -> httpx.Response:
    return await service.client.get(f"{ORGANIZATIONS}{path}", headers={"Authorization": f"Bearer {service.key}"})


async def read(service: Service, path: str) -> Json:
    response = await get(service, path)
    assert response.status_code == 200, response.text
    return response.json()


async def join(database: Database, email: str, organization_name: str) -> None:
    async with database.write() as session:
        await AccountService(session).set_up_project(
            name="Blog", email=email, organization_name=organization_name, joins=True, timezone="UTC"
        )


@pytest.mark.one_database
async def test_organization_is_read_by_its_id_and_as_the_current_one(service: Service) -> None:
    project = await service.read("/")

    organization = await read(service, "@current/")

    expected = {
        "id": project["organization"],
        "name": service.organization,
        "created_at": organization["created_at"],
        "membership_level": 1,
    }
    assert list(organization.items()) == list(expected.items())
    assert await read(service, f"{project['organization']}/") == organization
    assert await read(service, f"{project['organization'].upper()}/") == organization


async def test_organizations_of_the_caller_are_listed_in_the_order_of_joining(
    service: Service, stranger: Service, database: Database
) -> None:
    await join(database, service.email, stranger.organization)
    example, rivals = await read(service, "@current/"), await read(stranger, "@current/")

    assert await read(service, "") == {"count": 2, "next": None, "previous": None, "results": [example, rivals]}
    assert await read(service, "?limit=1&offset=1") == {
        "count": 2,
        "next": None,
        "previous": "http://abacus.test/api/organizations/?limit=1",
        "results": [rivals],
    }
    assert await read(service, f"{rivals['id']}/") == rivals


async def test_members_are_listed_in_the_order_of_joining(
    service: Service, stranger: Service, database: Database
) -> None:
    await join(database, f"carl-{service.email}", service.organization)

    page = await read(service, "@current/members/?limit=1")

    ann = page["results"][0]
    me = (await service.client.get("/api/users/@me/", headers={"Authorization": f"Bearer {service.key}"})).json()
    expected = {
        "id": ann["id"],
        "user": {name: me[name] for name in ("id", "uuid", "distinct_id", "first_name", "email")},
        "joined_at": ann["joined_at"],
        "level": 1,
    }
    assert list(ann.items()) == list(expected.items())
    assert (page["count"], page["previous"]) == (2, None)
    assert page["next"] == "http://abacus.test/api/organizations/@current/members/?limit=1&offset=1"
    emails = [member["user"]["email"] for member in (await read(service, "@current/members/"))["results"]]
    assert emails == [service.email, f"carl-{service.email}"]


async def test_deactivated_user_is_no_member_any_more(service: Service, database: Database) -> None:
    await join(database, f"carl-{service.email}", service.organization)
    async with database.write() as session:
        await AccountService(session).deactivate_user(f"carl-{service.email}")

    page = await read(service, "@current/members/")

    assert (page["count"], [member["user"]["email"] for member in page["results"]]) == (1, [service.email])


@pytest.mark.one_database
@pytest.mark.parametrize("address", ADDRESSES)
async def test_organization_of_others_is_not_found(service: Service, stranger: Service, address: str) -> None:
    theirs = await read(stranger, "@current/")

    response = await get(service, address.format(id=theirs["id"]))

    assert (response.status_code, response.json()) == (404, NOT_FOUND)


NO_IDS = [
    "1",
    "@me",
    "Example",
    "%20",
    "00000000-0000-0000-0000-000000000000",
    "00000000000000000000000000000000",
    "%7B00000000-0000-0000-0000-000000000000%7D",
    "%D9%A00000000-0000-0000-0000-000000000000",
    "1%00",
    "9" * 5000,
]


@pytest.mark.one_database("postgresql")
@pytest.mark.parametrize("reference", NO_IDS)
async def test_invalid_organization_id_is_not_found(service: Service, reference: str) -> None:
    responses = [await get(service, address.format(id=reference)) for address in ADDRESSES]

    assert [(response.status_code, response.json()) for response in responses] == [(404, NOT_FOUND)] * 2


async def test_user_without_an_organization_finds_none(service: Service, database: Database) -> None:
    async with database.write() as session:
        user = await AccountRepository(session).find_user(service.email)
        assert user is not None
        await session.execute(delete(OrganizationMembership).where(OrganizationMembership.user_id == user.id))

    responses = [await get(service, address.format(id="@current")) for address in ADDRESSES]

    assert [(response.status_code, response.json()) for response in responses] == [(404, NOT_FOUND)] * 2
    assert (await read(service, ""))["results"] == []
