"""Abacus: an open experimentation service."""

VERSION = "0.1.0"
