"""Timings. Each script prints a ratio to a baseline of the same run: machines differ, ratios less so."""
