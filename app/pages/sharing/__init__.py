"""Links that show an experiment to people without a key, and the page that they show."""
