"""Persons, groups and cohorts."""
