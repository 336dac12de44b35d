"""Inputs of any size, for every way in which what callers send can grow. Tests and benchmarks share them."""
