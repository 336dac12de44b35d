"""What an experiment plans to happen by itself, and what has."""
