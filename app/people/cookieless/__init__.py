"""Visitors without cookies: identifiers that last a day, and that no one can trace back once it is over."""
