"""The analysis of every metric by day, and the recommendation."""
