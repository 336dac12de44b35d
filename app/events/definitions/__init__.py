"""The names of a project's events and of their properties, for forms and search."""
