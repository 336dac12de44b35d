"""The list of webhooks, and the form of one. It sends what a client of `experiment_webhooks/` would."""

from collections.abc import Mapping
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse

from app.common.errors import Conflict, ValidationFailed
from app.common.timestamps import write_moment
from app.db.models import Webhook
from app.experiments.webhooks.delivery import read_delivery
from app.experiments.webhooks.dependencies import DelivererDep, build_webhooks, send_test
from app.experiments.webhooks.events import EVENTS
from app.experiments.webhooks.schemas import DeliveryRead, WebhookCreate, WebhookUpdate
from app.experiments.webhooks.sending import host_of
from app.http.dependencies import get_database
from app.http.pagination import read_count
from app.http.request_body import validate
from app.pages.credentials import PREFIX
from app.pages.dependencies import visit_with_scope
from app.pages.editing.deletion import Deletion, ask_to_delete
from app.pages.editing.rows import Fields, Row, errors_beside
from app.pages.editing.staleness import Versions
from app.pages.reading_forms import read_form
from app.pages.routing import PageRoute, back_to, link_from, show
from app.pages.visits import Visit

router = APIRouter(prefix=PREFIX, include_in_schema=False, route_class=PageRoute)
_VERSIONS: Final[Versions[Webhook]] = Versions("webhook", lambda webhook: write_moment(webhook.updated_at))

PAGE_ITEMS: Final = 50
_SHOWN_DELIVERIES: Final = 20


WebhookVisitDep = Annotated[Visit, Depends(visit_with_scope("webhook", "GET"))]
ChangingWebhookVisitDep = Annotated[Visit, Depends(visit_with_scope("webhook", "POST"))]


@router.get("/{project_id}/webhooks/")
async def show_webhooks(request: Request, visit: WebhookVisitDep, offset: str = "") -> HTMLResponse:
    start = read_count(offset, 0, minimum=0)
    async with get_database(request).read() as session:
        webhooks = build_webhooks(session, visit.project.id, request.app.state.settings)
        count, listed = await webhooks.page(PAGE_ITEMS, start)
    return await show(
        request,
        "webhooks.html",
        visit=visit,
        webhooks=[(one, host_of(one.url)) for one in listed],
        all_events=len(EVENTS),
        count=count,
        offset=start,
        step=PAGE_ITEMS,
    )


@router.get("/{project_id}/webhooks/new/")
async def show_new_webhook(request: Request, visit: ChangingWebhookVisitDep) -> HTMLResponse:
    return await _show(request, visit, {"active": "yes", **dict.fromkeys(EVENTS, "yes")})


@router.post("/{project_id}/webhooks/new/")
async def create_webhook_by_form(request: Request, visit: ChangingWebhookVisitDep) -> Response:
    """Create a webhook, and show its secret once."""
    fields, errors = await read_form(request), dict[str, str]()
    document = _read(fields, errors)
    if not errors:
        try:
            body = validate(WebhookCreate, document)
            async with get_database(request).write() as session:
                webhooks = build_webhooks(session, visit.project.id, request.app.state.settings)
                webhook = await webhooks.create(body, visit.user)
            return await _show(request, visit, _write(webhook), webhook=webhook, secret=webhook.secret)
        except ValidationFailed as refusal:
            errors = errors_beside(refusal)
    return await _show(request, visit, fields, errors, status=400)


@router.get("/{project_id}/webhooks/{webhook_id}/")
async def show_webhook(request: Request, visit: ChangingWebhookVisitDep, webhook_id: str) -> HTMLResponse:
    webhook = await _load(request, visit, webhook_id)
    return await _show(request, visit, _write(webhook), webhook=webhook)


@router.post("/{project_id}/webhooks/{webhook_id}/")
async def change_webhook_by_form(
    request: Request, visit: ChangingWebhookVisitDep, webhook_id: str, deliverer: DelivererDep
) -> Response:
    fields, errors = await read_form(request), dict[str, str]()
    webhook, status = await _load(request, visit, webhook_id), 400
    if fields.get("do") == "delete":
        return await _delete(request, visit, webhook, fields)
    if fields.get("do") == "test":
        tested = read_delivery(await send_test(request, visit.project.id, webhook_id, deliverer))
        shown = fields if "url" in fields else _write(webhook)
        return await _show(request, visit, shown, webhook=webhook, tested=tested)
    document = _read(fields, errors, webhook)
    if not errors:
        try:
            body = validate(WebhookUpdate, document)
            async with get_database(request).write() as session:
                webhooks = build_webhooks(session, visit.project.id, request.app.state.settings)
                await webhooks.update(await _VERSIONS.lock(webhooks, webhook.id, fields), body, visit.user)
        except Conflict as conflict:
            fields, status = {**fields, "seen": write_moment(webhook.updated_at)}, conflict.status
            errors = {"form": conflict.detail}
        except ValidationFailed as refusal:
            errors = errors_beside(refusal)
    if errors:
        return await _show(request, visit, fields, errors, webhook=webhook, status=status)
    return back_to(request, visit, "show_webhooks")


async def _delete(request: Request, visit: Visit, webhook: Webhook, fields: Fields) -> Response:
    """Ask whether to delete a webhook, and do so after the answer."""
    if fields.get("sure") != "yes":
        link, project_id = link_from(request), visit.project.id
        deletion = Deletion(
            "webhook",
            host_of(webhook.url),
            ["It is gone for good, with the record of what was sent.", "What waits is not sent any more."],
            page=link("show_webhook", project_id=project_id, webhook_id=webhook.id),
            listed_at=link("show_webhooks", project_id=project_id),
            list_title="Webhooks",
        )
        return await ask_to_delete(request, visit, deletion, fields.get("seen", ""))
    try:
        async with get_database(request).write() as session:
            webhooks = build_webhooks(session, visit.project.id, request.app.state.settings)
            await webhooks.delete(await _VERSIONS.lock_to_delete(webhooks, webhook.id, fields), visit.user)
    except Conflict as conflict:
        errors = {"form": conflict.detail}
        return await _show(request, visit, _write(webhook), errors, webhook=webhook, status=conflict.status)
    return back_to(request, visit, "show_webhooks")


async def _load(request: Request, visit: Visit, reference: str) -> Webhook:
    async with get_database(request).read() as session:
        return await build_webhooks(session, visit.project.id, request.app.state.settings).get(reference)


def _write(webhook: Webhook) -> dict[str, str]:
    """Return the fields of a form that shows a webhook. Its secret is in none of them."""
    return {
        "url": webhook.url,
        "active": "yes" if webhook.active else "",
        "seen": write_moment(webhook.updated_at),
        **dict.fromkeys(webhook.events, "yes"),
    }


def _read(fields: Fields, errors: dict[str, str], stored: Webhook | None = None) -> dict[str, Any]:
    """Return the document of a form. Without a secret the one that there is stays, or a random one is made."""
    form = Row(fields, "", errors)
    events: list[str] = [name for name in EVENTS if form.text(name)]
    if stored is not None and set(events) == set(stored.events):
        events = stored.events  # in the order in which they were given
    if not events:
        form.refuse("events", "Choose at least one event.")
    document: dict[str, Any] = {
        "url": form.required("url", "Say where events are sent to."),
        "events": events,
        "active": bool(form.text("active")),
    }
    if secret := form.text("secret"):
        document["secret"] = secret
    return document


async def _show(
    request: Request,
    visit: Visit,
    fields: Fields,
    errors: Mapping[str, str] | None = None,
    *,
    webhook: Webhook | None = None,
    secret: str = "",  # none to show
    tested: DeliveryRead | None = None,
    status: int = 200,
) -> HTMLResponse:
    deliveries: list[DeliveryRead] = []
    if webhook is not None:
        async with get_database(request).read() as session:
            webhooks = build_webhooks(session, visit.project.id, request.app.state.settings)
            _, listed = await webhooks.deliveries(webhook, _SHOWN_DELIVERIES, 0)
        deliveries = [read_delivery(one) for one in listed]
    return await show(
        request,
        "webhook.html",
        status,
        visit=visit,
        webhook=webhook,
        host="" if webhook is None else host_of(webhook.url),
        fields=fields,
        errors=errors or {},
        events=EVENTS,
        secret=secret,
        tested=tested,
        deliveries=deliveries,
        timezone=ZoneInfo(visit.project.timezone),
    )
