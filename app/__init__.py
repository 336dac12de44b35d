"""Abacus: an open experimentation service."""
