"""Answers that a repeated request with the same `Idempotency-Key` gets again."""
