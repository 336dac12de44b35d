"""A real experiment, replayed: the fastest way to see what the service does."""

from app.operations.demo.replay import run

__all__ = ["run"]
