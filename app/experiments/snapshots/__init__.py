"""Results that are stored as they stood."""
