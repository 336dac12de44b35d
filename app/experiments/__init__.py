"""Experiments: the documented API."""
