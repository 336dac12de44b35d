"""What a developer puts into their program to ask for a flag."""
