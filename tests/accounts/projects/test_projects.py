from dataclasses import replace

import httpx
import pytest
from sqlalchemy import select

from app.accounts.projects.repository import AccountRepository
from app.accounts.projects.schemas import ProjectCreate, ProjectUpdate
from app.accounts.projects.service import AccountService
from app.common.errors import ValidationFailed
from app.db.database import Database
from app.db.models import OrganizationMembership, Project
from app.http.request_body import validate
from tests.support.service import Service

pytestmark = pytest.mark.one_database


async def call(service: Service, method: str, path: str, body: object = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {service.key}"}
    return await service.client.request(method, path, headers=headers, json=body)


async def test_created_project_is_readable_and_has_its_own_token(service: Service) -> None:
    own = await service.read("/")

    response = await call(service, "POST", "/api/projects/", {"name": " Blog ", "timezone": "Europe/Amsterdam"})

    project = response.json()
    assert response.status_code == 201
    expected = {
        "id": project["id"],
        "uuid": project["uuid"],
        "organization": own["organization"],
        "name": "Blog",
        "timezone": "Europe/Amsterdam",
        "test_account_filters": [],
        "anonymize_ips": False,
        "default_attribution": "events",
        "default_cuped": None,
        "api_token": project["api_token"],
        "created_at": project["created_at"],
        "updated_at": project["updated_at"],
    }
    assert list(project.items()) == list(expected.items())
    assert project["api_token"].startswith("phc_")
    assert project["api_token"] != own["api_token"]
    assert (await call(service, "GET", f"/api/projects/{project['id']}/")).json() == project


async def test_time_zone_of_a_project_is_utc_by_default(service: Service) -> None:
    response = await call(service, "POST", "/api/projects/", {"name": "Blog"})

    assert response.json()["timezone"] == "UTC"


async def test_projects_of_the_callers_organizations_are_listed_oldest_first(
    service: Service, neighbor: Service, stranger: Service
) -> None:
    response = await call(service, "GET", "/api/projects/?limit=1")

    assert response.json() == {
        "count": 2,
        "next": "http://abacus.test/api/projects/?limit=1&offset=1",
        "previous": None,
        "results": [await service.read("/")],
    }


@pytest.mark.parametrize("changes", [{"name": "Blog"}, {"timezone": "Asia/Tokyo"}, {"api_token": "phc_mine"}, {}])
async def test_update_changes_only_the_fields_that_were_sent(service: Service, changes: dict[str, object]) -> None:
    before = await service.read("/")

    response = await service.patch("/", changes)

    after = response.json()
    assert response.status_code == 200
    assert after == {**before, **changes, "api_token": before["api_token"], "updated_at": after["updated_at"]}
    assert after["updated_at"] > before["updated_at"]
    assert await service.read("/") == after


REFUSED = [
    ({"name": None}, "null", "This field may not be null.", "name"),
    ({"name": " "}, "blank", "This field may not be blank.", "name"),
    ({"name": "x" * 201}, "max_length", "Ensure this field has no more than 200 characters.", "name"),
    ({"name": "x" * 401}, "max_length", "Ensure this field has no more than 200 characters.", "name"),
    ({"timezone": None}, "null", "This field may not be null.", "timezone"),
    ({"timezone": "Mars/Olympus"}, "invalid_choice", '"Mars/Olympus" is not a valid choice.', "timezone"),
    ({"timezone": "../UTC"}, "invalid_choice", '"../UTC" is not a valid choice.', "timezone"),
    ({"timezone": "\ud800"}, "invalid_choice", '"?" is not a valid choice.', "timezone"),
    ({"timezone": ["UTC"]}, "invalid_choice", "\"['UTC']\" is not a valid choice.", "timezone"),
]


@pytest.mark.parametrize("model", [ProjectCreate, ProjectUpdate])
@pytest.mark.parametrize(("fields", "code", "detail", "attr"), REFUSED)
def test_invalid_field_is_refused(
    model: type[ProjectCreate | ProjectUpdate], fields: dict[str, object], code: str, detail: str, attr: str
) -> None:
    with pytest.raises(ValidationFailed) as refused:
        validate(model, {"name": "Blog", **fields})

    assert (refused.value.code, refused.value.detail, refused.value.attr) == (code, detail, attr)


async def test_refused_change_changes_nothing(service: Service) -> None:
    before = await service.read("/")

    response = await service.patch("/", {"name": "Blog", "timezone": "Mars/Olympus"})

    assert response.status_code == 400
    assert response.json() == {
        "type": "validation_error",
        "code": "invalid_choice",
        "detail": '"Mars/Olympus" is not a valid choice.',
        "attr": "timezone",
    }
    assert await service.read("/") == before


async def test_caller_reads_their_user_organizations_and_project(service: Service) -> None:
    response = await call(service, "GET", "/api/users/@me/")

    me, project = response.json(), await service.read("/")
    organization = {"id": project["organization"], "name": service.organization}
    assert response.status_code == 200
    assert me == {
        "id": me["id"],
        "uuid": me["uuid"],
        "distinct_id": me["distinct_id"],
        "first_name": "",
        "email": service.email,
        "is_active": True,
        "organization": organization,
        "organizations": [organization],
        "team": project,
    }


@pytest.mark.each_database
async def test_user_without_an_organization_cannot_read_or_create_projects(
    service: Service, database: Database
) -> None:
    async with database.write() as session:
        project = await session.get_one(Project, service.project_id)
        user = await AccountRepository(session).find_user(service.email)
        assert user is not None
        membership = (
            await session.scalars(select(OrganizationMembership).where(OrganizationMembership.user_id == user.id))
        ).one()
        assert membership.organization_id == project.organization_id
        await session.delete(membership)

    answers = [
        await call(service, "GET", "/api/projects/@current/experiments/"),
        await call(service, "POST", "/api/projects/", {"name": "Blog"}),
        await service.get("/experiments/"),
        await call(service, "GET", "/api/projects/"),
    ]

    assert [answer.status_code for answer in answers] == [404, 403, 404, 200]
    assert answers[0].json()["detail"] == "Project not found."
    assert answers[3].json()["results"] == []


async def test_current_project_stays_when_the_user_joins_another_organization(
    service: Service, database: Database
) -> None:
    async with database.write() as session:
        accounts = AccountService(session)
        made = await accounts.set_up_project(
            name="Own", email="cleo@example.com", organization_name="Own", timezone="UTC"
        )
        await accounts.set_up_project(
            name="Shared", email="cleo@example.com", organization_name="Example", joins=True, timezone="UTC"
        )

    current = await call(replace(service, key=made.personal_api_key), "GET", "/api/projects/@current/")

    assert current.json()["name"] == "Own"
