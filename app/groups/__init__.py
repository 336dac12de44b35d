"""Groups: what acts beside persons, such as companies."""
