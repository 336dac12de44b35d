"""Serving, probes, checks and maintenance of a deployment."""
