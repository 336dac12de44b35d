"""Keeps counts fresh in the background, and removes what is not used."""
