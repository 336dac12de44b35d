"""How many examples Hypothesis tries where a test takes more or fewer than others."""

import os

from tests.support.programs import EVERYTHING

DEV, CI = 3, 50


def examples(number: int) -> int:
    """Return this number where everything has to be tested, and otherwise the share of it that others take."""
    return number if os.environ.get(EVERYTHING) else max(3, number * DEV // CI)
