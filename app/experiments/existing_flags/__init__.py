"""Experiments on feature flags that existed before them."""
