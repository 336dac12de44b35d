"""Organizations, projects, users, and the keys by which they reach the API."""
