"""Bodies of webhooks and their deliveries."""

from typing import Annotated, Literal, TypeAlias
from uuid import UUID

import httpx
from pydantic import AfterValidator, ConfigDict, Field, JsonValue

from app.accounts.users import UserBasic
from app.common import limits
from app.experiments.webhooks.events import EVENTS, WebhookEvent
from app.http.fields import Boolean, IsList, LongText, Omittable, UtcDatetime, max_characters, refusal
from app.http.schemas import ResponseBody, StrictBody

_LEAST_SECRET, _LONGEST_SECRET = 16, 200
_EXAMPLE: JsonValue = {
    "url": "https://hooks.example.com/abacus",
    "events": ["experiment.launched", "experiment.ended", "experiment.decision.ship"],
}
DeliveryStatus: TypeAlias = Literal["pending", "delivered", "failed"]


def _check_url(text: str) -> str:
    try:
        url = httpx.URL(text)
        port = url.port
    except (httpx.InvalidURL, ValueError) as error:
        raise refusal("Enter a valid URL.", "invalid_url") from error
    if url.scheme not in {"http", "https"} or not url.host or not _is_port(port):
        raise refusal("A webhook's URL begins with https:// or http:// and names a host.", "invalid_url")
    if url.userinfo or url.fragment:
        raise refusal("A webhook's URL has neither a user nor a fragment: the signature is the proof.", "invalid_url")
    return str(url)


def _is_port(port: int | None) -> bool:
    return port is None or 0 < port < 65_536


def _check_secret(text: str) -> str:
    if not _LEAST_SECRET <= len(text) <= _LONGEST_SECRET or not text.isascii() or not text.isprintable():
        raise refusal(f"A secret has {_LEAST_SECRET} to {_LONGEST_SECRET} printable ASCII characters.")
    return text


def _only_once(events: list[WebhookEvent]) -> list[WebhookEvent]:
    return list(dict.fromkeys(events))


Url = Annotated[
    LongText,
    max_characters(limits.WEBHOOK_URL_CHARACTERS.value),
    AfterValidator(_check_url),
    Field(
        description="Where events are sent to. Its host must have public addresses only, unless "
        "`ABACUS_WEBHOOK_ALLOWED_NETWORKS` allows others.",
        json_schema_extra={"format": "uri", "maxLength": limits.WEBHOOK_URL_CHARACTERS.value},
        examples=["https://hooks.example.com/abacus"],
    ),
]
Events = Annotated[
    list[WebhookEvent],
    IsList,
    AfterValidator(_only_once),
    Field(min_length=1, max_length=100, description="The events that are sent.", examples=[["experiment.launched"]]),
]
Secret = Annotated[
    LongText,
    AfterValidator(_check_secret),
    Field(
        description="The key of the signature. It is not shown again.",
        json_schema_extra={"minLength": _LEAST_SECRET, "maxLength": _LONGEST_SECRET},
        examples=["a-secret-of-your-own"],
    ),
]


class WebhookCreate(StrictBody):
    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    url: Url
    events: Events = Field(default=list(EVENTS), description="The events that are sent: all unless it is given.")
    secret: Omittable[Secret] = Field(
        default=None, description="The key of the signature: a random one unless it is given. It is shown once."
    )
    active: Boolean = Field(default=True, description="Whether events are sent.")


class WebhookUpdate(StrictBody):
    """A partial update: only fields that were sent are applied."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"active": False}]})

    url: Omittable[Url] = None
    events: Omittable[Events] = None
    secret: Omittable[Secret] = None
    active: Omittable[Boolean] = Field(
        default=None, description="While false, no event is added, and what waits is not sent."
    )


class WebhookRead(ResponseBody):
    id: int = Field(examples=[1])
    url: str = Field(examples=["https://hooks.example.com/abacus"])
    events: list[str] = Field(examples=[["experiment.launched"]])
    active: bool = Field(examples=[True])
    created_by: UserBasic | None
    created_at: UtcDatetime
    updated_at: UtcDatetime


class WebhookCreated(WebhookRead):
    secret: str = Field(description="The key of the signature. It is not shown again.", examples=["whs_3xAmPl3"])


class DeliveryRead(ResponseBody):
    id: int = Field(description="Ascending in time.", examples=[1])
    event_id: UUID = Field(
        description="The header `X-Event-Id`: the same at every attempt, so that a receiver can tell repetitions.",
        examples=["0184305c-6f00-4000-8000-000000000003"],
    )
    event: str = Field(examples=["experiment.launched"])
    status: DeliveryStatus = Field(
        description="`pending`: an attempt is to come. `delivered`: the receiver answered 2xx. `failed`: given up.",
    )
    attempts: int = Field(description="Attempts so far.", examples=[1])
    response_status: int | None = Field(
        description="The status that the receiver answered last; null where it did not answer.", examples=[200]
    )
    error: str = Field(description="Why the last attempt failed; else empty.", examples=[""])
    created_at: UtcDatetime
    last_attempt_at: UtcDatetime | None
    next_attempt_at: UtcDatetime | None = Field(description="Null where no attempt is to come.")
    delivered_at: UtcDatetime | None
    body: str = Field(description="What is sent, as it is signed.", examples=['{"event":"experiment.launched"}'])
