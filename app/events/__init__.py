"""The stored events."""
