"""The statistics engine by itself: counts in, figures out; and planning."""
