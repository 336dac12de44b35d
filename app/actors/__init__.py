"""Actors other than persons: groups and sessions, as numbers."""
