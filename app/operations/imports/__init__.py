"""Imports of uploaded files, which run in the background: endpoints and a page."""
