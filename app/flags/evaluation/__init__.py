"""The values of flags for a person or a group."""
