"""Feature flags: who sees what."""
