"""Property filters: parsing them, and matching the properties of an event, a person or a group.

All comparisons of properties are here, so that metrics, participants and flags agree.
"""
