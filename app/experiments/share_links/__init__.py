"""Links that show one experiment to people without a key."""
