"""Log densities, quadrature and tail probabilities."""
