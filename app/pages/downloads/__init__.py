"""The figures of an experiment as files."""
