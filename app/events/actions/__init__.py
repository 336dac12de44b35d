"""Actions: names for events."""
