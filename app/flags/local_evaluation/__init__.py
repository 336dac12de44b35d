"""Definitions of flags for SDKs that evaluate them themselves."""
