"""The cohorts of a project, on the pages."""
