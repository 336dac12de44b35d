"""The settings of a project, on the pages."""
