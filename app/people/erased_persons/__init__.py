"""What is left of erased persons, so that results stay as they were."""
