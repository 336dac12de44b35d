"""The caller's personal API keys."""

from typing import Annotated

from fastapi import APIRouter, Response
from fastapi.params import Depends

from app.accounts.auth.dependencies import KeysDep, LockedKeyDep, get_key, get_user, require_scope
from app.accounts.auth.schemas import PersonalApiKeyCreate, PersonalApiKeyCreated, PersonalApiKeyRead
from app.db.models import PersonalApiKey
from app.http.request_body import body_of
from app.http.routing import answer_other_methods
from app.http.strictness import OF_2022

router = APIRouter(
    prefix="/api/personal_api_keys",
    tags=["Personal API keys"],
    dependencies=[require_scope("personal_api_key"), OF_2022],
)


def _read(key: PersonalApiKey) -> PersonalApiKeyRead:
    return PersonalApiKeyRead(
        id=str(key.id),
        label=key.label,
        created_at=key.created_at,
        last_used_at=key.last_used_at,
        user_id=key.user_id,
        scopes=key.scopes,
    )


@router.get("/", summary="List personal API keys")
async def list_personal_api_keys(keys: KeysDep) -> list[PersonalApiKeyRead]:
    """Return all of the caller's own keys, newest first, without their values and without pagination."""
    return [_read(key) for key in await keys.list_own()]


@router.post("/", status_code=201, summary="Create a personal API key")
async def create_personal_api_key(
    keys: KeysDep, body: Annotated[PersonalApiKeyCreate, body_of(PersonalApiKeyCreate)]
) -> PersonalApiKeyCreated:
    """Create a key for the caller, with all or some scopes. Its value is shown once: only a digest is stored."""
    key, value = await keys.create(body)
    return PersonalApiKeyCreated(value=value, **_read(key).model_dump())


@router.get("/{key_id}/", summary="Retrieve a personal API key")
async def retrieve_personal_api_key(key: Annotated[PersonalApiKey, Depends(get_key)]) -> PersonalApiKeyRead:
    """Return one of the caller's own keys, without its value."""
    return _read(key)


@router.delete("/{key_id}/", status_code=204, summary="Delete a personal API key")
async def delete_personal_api_key(key: LockedKeyDep, keys: KeysDep) -> Response:
    """Delete one of the caller's own keys, even the one that the request was made with. It stops working at once."""
    await keys.delete(key)
    return Response(status_code=204)


answer_other_methods(router, Depends(get_user))
