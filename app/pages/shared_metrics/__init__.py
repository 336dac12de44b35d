"""The metrics that several experiments count, on the pages."""
