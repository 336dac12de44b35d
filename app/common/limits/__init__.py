"""All limits on what one request, event, person or document may cost: the value, the reason and the documented error.

A limit is enforced where its subject is read; the value stands here and nowhere else. ``docs/reference/limits.md`` is
made from ``ALL``, in its order.
"""

from typing import Final

from app.common.limits import answers, bodies, capture, connections, documents, imports, pages, webhooks, work
from app.common.limits.answers import *
from app.common.limits.bodies import *
from app.common.limits.capture import *
from app.common.limits.connections import *
from app.common.limits.documents import *
from app.common.limits.imports import *
from app.common.limits.limit import *
from app.common.limits.pages import *
from app.common.limits.webhooks import *
from app.common.limits.work import *

LOOP_MILLISECONDS: Final = 20  # at a stretch on the event loop, whatever the input
SLICE_MILLISECONDS: Final = 1  # of long work, after which others have a turn of the event loop

_SUBJECTS: Final = (capture, bodies, documents, work, imports, connections, answers, pages, webhooks)
ALL: Final = tuple(value for subject in _SUBJECTS for value in vars(subject).values() if isinstance(value, Limit))
