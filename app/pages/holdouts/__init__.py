"""The holdouts of a project, on the pages."""
