"""Property filters: what they say, and whether the properties of an event, a person or a group satisfy them.

Pure, and the only place where a property is compared with anything, so that metrics, participants and flags agree.
"""
