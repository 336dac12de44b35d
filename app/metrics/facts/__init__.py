"""A few numbers for each event that a metric looks at."""
