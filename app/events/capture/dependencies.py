"""Finds the capture service of the process."""

from fastapi import Request

from app.events.capture.service import CaptureService


def capture_of(request: Request) -> CaptureService:
    """Return the one of the process. To be called, not declared: solving a dependency costs more than decoding."""
    capture: CaptureService = request.app.state.capture
    return capture
