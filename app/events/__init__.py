"""Events: capture, storage, and the actions that give them names."""
