"""HTML pages: lists of experiments, and each experiment as a page or as one file."""
