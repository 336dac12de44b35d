"""The webhooks of a project, on the pages."""
