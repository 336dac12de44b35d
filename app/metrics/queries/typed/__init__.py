"""Typed metrics: means, funnels, ratios and retention of exposed persons."""
