"""Provides the capture service of the process."""

from fastapi import Request

from app.events.capture.service import CaptureService


def capture_of(request: Request) -> CaptureService:
    """Return the instance of the process. Endpoints call this: a FastAPI dependency costs more than decoding."""
    capture: CaptureService = request.app.state.capture
    return capture
