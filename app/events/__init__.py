"""The event store, and what names and fills it."""
