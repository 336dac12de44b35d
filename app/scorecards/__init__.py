"""The scorecard of an experiment: every metric analysed, day by day, and what to do about it."""
