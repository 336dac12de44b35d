"""Who did it: persons, their distinct ids and properties."""
