"""Feature flags, and what SDKs ask about them."""
