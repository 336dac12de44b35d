"""Stored counts, and what is added to them."""
