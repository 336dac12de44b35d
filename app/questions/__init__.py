"""What an experiment asks of the facts: its filters, read, and the questions that they make."""
