"""Posteriors compared exactly."""
