"""Tests, intervals, sample ratio, power."""
