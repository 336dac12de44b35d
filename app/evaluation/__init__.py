"""Answering SDKs that ask for a person's flags."""
