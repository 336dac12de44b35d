"""From the filters of a metric to counts."""
