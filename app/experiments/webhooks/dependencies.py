"""Builds the webhooks of a project, and what delivers and watches."""

from typing import Annotated

from fastapi import Depends, Path, Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.auth.dependencies import ProjectDep
from app.activity_log.dependencies import build_activity_log
from app.db.database import Database
from app.db.models import Project, Webhook, WebhookDelivery
from app.experiments.counting.dependencies import build_counter
from app.experiments.repository import ExperimentRepository
from app.experiments.webhooks.delivery import Deliverer
from app.experiments.webhooks.following import FollowedVariants
from app.experiments.webhooks.outbox import Outbox
from app.experiments.webhooks.repository import DueDelivery, WebhookRepository
from app.experiments.webhooks.service import WebhookService
from app.experiments.webhooks.watching import EvidenceWatch
from app.flags.dependencies import build_flags
from app.flags.service import FlagService
from app.http.dependencies import SessionDep, get_database
from app.http.fields import PathId
from app.metrics.facts.materializer import Materializer
from app.settings import Settings

WebhookId = Annotated[PathId, Path(description="A webhook's id.")]


def build_webhooks(session: AsyncSession, project_id: int, settings: Settings) -> WebhookService:
    return WebhookService(
        WebhookRepository(session, project_id),
        build_activity_log(session, project_id),
        settings.webhook_allowed_networks,
    )


def build_followed_flags(session: AsyncSession, project_id: int) -> FlagService:
    """Build flags of which receivers are told when experiments follow their variants."""
    followed = FollowedVariants(
        ExperimentRepository(session, project_id), Outbox(WebhookRepository(session, project_id))
    )
    return build_flags(session, project_id, followed.tell)


def build_watch(database: Database, materializer: Materializer, project: Project) -> EvidenceWatch:
    return EvidenceWatch(database, build_counter(database, materializer, project), project.id)


async def send_test(request: Request, project_id: int, reference: str, deliverer: Deliverer) -> WebhookDelivery:
    """Send an event ``webhook.test`` now, once, and return what became of it."""
    async with get_database(request).write() as session:
        webhooks = build_webhooks(session, project_id, request.app.state.settings)
        webhook = await webhooks.get(reference)
        due = DueDelivery(await webhooks.add_test(webhook), project_id, webhook.url, webhook.secret)
    return await deliverer.try_once(due)


async def get_webhooks(request: Request, project: ProjectDep, session: SessionDep) -> WebhookService:
    return build_webhooks(session, project.id, request.app.state.settings)


async def get_webhook(webhook_id: WebhookId, webhooks: "WebhooksDep") -> Webhook:
    return await webhooks.get(webhook_id)


async def get_locked_webhook(webhook_id: WebhookId, webhooks: "WebhooksDep") -> Webhook:
    """The webhook, locked against other writers until the request ends."""
    return await webhooks.get(webhook_id, for_update=True)


async def get_deliverer(request: Request) -> Deliverer:
    deliverer: Deliverer = request.app.state.deliverer
    return deliverer


WebhooksDep = Annotated[WebhookService, Depends(get_webhooks)]
WebhookDep = Annotated[Webhook, Depends(get_webhook)]
LockedWebhookDep = Annotated[Webhook, Depends(get_locked_webhook)]
DelivererDep = Annotated[Deliverer, Depends(get_deliverer)]
