"""What is wrong with an experiment, what shows it, and what to do."""
