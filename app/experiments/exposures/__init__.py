"""Who was exposed to an experiment, and its planned split."""
