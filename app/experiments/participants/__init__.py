"""Who takes part in experiments, and under which variant."""
