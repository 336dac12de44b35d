"""Experiments, their life cycle, and everything that is reported of them."""
