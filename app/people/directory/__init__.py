"""Persons as members of a project find, read and change them."""
