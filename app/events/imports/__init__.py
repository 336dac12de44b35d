"""Import of history: files of other systems are read line by line, and stored as capture stores events."""
