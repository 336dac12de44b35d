"""What a team brings along and takes away: `abacus import` and `abacus export`."""
