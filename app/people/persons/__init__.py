"""Distinct ids, and the persons they belong to."""
