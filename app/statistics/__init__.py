"""Statistics of experiments: exact Bayesian quadrature without sampling, and frequentist tests."""
