"""What each forked process would do for itself, done once before they are forked: half of their processor time."""

import gc

from sqlalchemy.orm import configure_mappers

configure_mappers()
gc.freeze()  # a collection would write to every object, and each process would get a copy of the memory
