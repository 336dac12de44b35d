"""Findings about the experiment itself."""
