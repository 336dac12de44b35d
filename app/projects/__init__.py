"""Organizations, projects and users."""
