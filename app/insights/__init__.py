"""Trends and funnels of any events, in the shapes of 2022."""
