"""Feature flags on the pages."""
