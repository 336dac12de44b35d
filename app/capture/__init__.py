"""Taking events in from SDKs."""
