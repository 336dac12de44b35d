"""Results to look at: an experiment as a page, and as one file."""
