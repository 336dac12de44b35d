"""From an experiment's filters to its verdict."""
