"""Cohorts: groups of persons, by list or by criteria."""
