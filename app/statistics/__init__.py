"""Exact Bayesian statistics of experiments: deterministic quadrature in numpy, no sampling."""
