"""Which events a project has received of late, and from how many persons."""
