"""Webhooks: events of experiments, sent to receivers of the project."""
