"""HTML pages: the list of experiments, and each of them with charts."""
