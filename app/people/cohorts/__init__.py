"""Sets of persons, by list or by criteria."""
