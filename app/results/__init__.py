"""The verdict on an experiment's target metric."""
