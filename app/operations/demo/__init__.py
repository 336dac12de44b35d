"""Replays a real experiment with published counts, as a demonstration of the service."""

from app.operations.demo.replay import run

__all__ = ["run"]
