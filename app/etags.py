"""Entity tags: they tell a client whether what it is about to change is still what it read (RFC 9110)."""
