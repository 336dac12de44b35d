"""One count of an experiment for its health, its page and its snapshots."""
