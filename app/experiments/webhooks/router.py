"""The endpoints of webhooks: additions to the API of 2022."""

from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi.params import Depends

from app.accounts.auth.dependencies import ProjectDep, UserDep, get_project, require_scope
from app.experiments.webhooks.delivery import read_delivery
from app.experiments.webhooks.dependencies import (
    DelivererDep,
    LockedWebhookDep,
    WebhookDep,
    WebhookId,
    WebhooksDep,
    send_test,
)
from app.experiments.webhooks.schemas import DeliveryRead, WebhookCreate, WebhookCreated, WebhookRead, WebhookUpdate
from app.http.pagination import PaginationDep
from app.http.request_body import body_of
from app.http.routing import answer_other_methods
from app.http.schemas import Page

router = APIRouter(
    prefix="/api/projects/{project_id}/experiment_webhooks",
    tags=["Webhooks"],
    dependencies=[require_scope("webhook")],
)


@router.get("/", summary="List webhooks")
async def list_webhooks(webhooks: WebhooksDep, pagination: PaginationDep) -> Page[WebhookRead]:
    """Return the project's webhooks, newest first, without their secrets."""
    count, rows = await webhooks.page(pagination.limit, pagination.offset)
    return pagination.page(count, [WebhookRead.model_validate(one) for one in rows])


@router.post("/", status_code=201, summary="Create a webhook")
async def create_webhook(
    user: UserDep, webhooks: WebhooksDep, body: Annotated[WebhookCreate, body_of(WebhookCreate)]
) -> WebhookCreated:
    """Create a webhook: a URL that is sent the events of the project's experiments as JSON, signed with its secret.

    The secret is in this answer only. Every event is sent at least once, and again until the receiver answers 2xx.
    """
    return WebhookCreated.model_validate(await webhooks.create(body, user))


@router.get("/{webhook_id}/", summary="Retrieve a webhook")
async def retrieve_webhook(webhook: WebhookDep) -> WebhookRead:
    """Return one webhook, without its secret."""
    return WebhookRead.model_validate(webhook)


@router.patch("/{webhook_id}/", summary="Change a webhook")
async def update_webhook(
    webhook: LockedWebhookDep,
    user: UserDep,
    webhooks: WebhooksDep,
    body: Annotated[WebhookUpdate, body_of(WebhookUpdate)],
) -> WebhookRead:
    """Change the fields that are sent. What waits to be delivered goes to the new URL, signed with the new secret."""
    return WebhookRead.model_validate(await webhooks.update(webhook, body, user))


@router.delete("/{webhook_id}/", status_code=204, summary="Delete a webhook")
async def delete_webhook(webhook: LockedWebhookDep, user: UserDep, webhooks: WebhooksDep) -> Response:
    """Delete a webhook with its deliveries: what waits is not sent any more."""
    await webhooks.delete(webhook, user)
    return Response(status_code=204)


@router.post("/{webhook_id}/test/", summary="Test a webhook")
async def test_webhook(
    request: Request, webhook_id: WebhookId, project: ProjectDep, deliverer: DelivererDep
) -> DeliveryRead:
    """Send an event `webhook.test` now, once, and return what became of it. It is sent also while `active` is false."""
    return read_delivery(await send_test(request, project.id, webhook_id, deliverer))


@router.get("/{webhook_id}/deliveries/", summary="List the deliveries of a webhook")
async def list_webhook_deliveries(
    webhook: WebhookDep, webhooks: WebhooksDep, pagination: PaginationDep
) -> Page[DeliveryRead]:
    """Return what was sent, is to be sent or was given up, newest first. Deliveries are kept for 30 days."""
    count, rows = await webhooks.deliveries(webhook, pagination.limit, pagination.offset)
    return pagination.page(count, [read_delivery(one) for one in rows])


answer_other_methods(router, Depends(get_project))
