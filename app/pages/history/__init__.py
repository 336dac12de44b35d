"""What happened to an experiment, and the snapshots of its results."""
