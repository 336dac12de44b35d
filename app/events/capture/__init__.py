"""Where SDKs send events."""
