"""Feature flags: which person sees which variant."""
