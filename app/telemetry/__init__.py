"""The format of logs, and Prometheus metrics."""
