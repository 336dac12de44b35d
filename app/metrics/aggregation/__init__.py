"""Columns of facts in, counts out."""
