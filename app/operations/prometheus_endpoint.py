"""The endpoint that Prometheus scrapes."""

import hmac

from fastapi import APIRouter, Request, Response

from app.common.errors import AuthenticationFailed, NotAuthenticated, NotFound
from app.http.dependencies import get_database
from app.operations import pool_sampling
from app.settings import Settings
from app.telemetry import prometheus

router = APIRouter(include_in_schema=False)


@router.get("/metrics")
async def expose_metrics(request: Request) -> Response:
    """Return the metrics to a caller that sends the token. Without a token in the settings the path is a 404."""
    settings: Settings = request.app.state.settings
    if settings.metrics_token is None:
        raise NotFound("Endpoint not found.")
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise NotAuthenticated
    if not hmac.compare_digest(token.encode(), settings.metrics_token.get_secret_value().encode()):
        raise AuthenticationFailed
    pool_sampling.sample(get_database(request))
    return Response(prometheus.render(), media_type=prometheus.CONTENT_TYPE, headers={"Cache-Control": "no-store"})
