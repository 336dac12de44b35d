"""What may be done with an experiment on its page, each after a question."""
