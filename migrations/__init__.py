"""Database migrations, run by ``abacus migrate``."""
