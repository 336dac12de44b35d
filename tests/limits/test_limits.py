"""Every limit of ``app/common/limits/``: what is just below is taken, what is just above meets the promise."""

import logging

import pytest

from app.common import limits
from app.db.database import Database
from tests.limits import capture_cases, document_cases, reading_cases  # noqa: F401  # they register what they hold
from tests.limits.cases import CASES, HELD_ELSEWHERE, NAMES, Case, World
from tests.support.programs import ROOT
from tests.support.service import Service

EVERY_CASE = [(name, case) for name, cases in CASES.items() for case in cases]


def test_every_limit_is_listed_and_has_a_case() -> None:
    assert set(limits.ALL) == set(NAMES.values())
    assert NAMES.keys() - CASES.keys() - HELD_ELSEWHERE.keys() == set()
    assert (CASES.keys() | HELD_ELSEWHERE.keys()) - NAMES.keys() == set()


def test_tests_elsewhere_exist() -> None:
    def has(file: str, test: str) -> bool:
        path = ROOT / "tests" / file
        return path.exists() and f"def {test}(" in path.read_text()

    assert [named for named in HELD_ELSEWHERE.values() if not has(*named)] == []


def test_every_limit_says_what_happens_and_why() -> None:
    for name, limit in NAMES.items():
        assert limit.subject, name
        assert limit.consequence, name
        assert limit.reason.endswith("."), name
        assert "{" not in limit.detail, name


@pytest.mark.one_database
@pytest.mark.parametrize(("name", "case"), EVERY_CASE, ids=[f"{name} {case.__name__}" for name, case in EVERY_CASE])
async def test_limit_holds(
    service: Service, database: Database, caplog: pytest.LogCaptureFixture, name: str, case: Case
) -> None:
    with caplog.at_level(logging.INFO, logger="abacus"):
        await case(World(service, database, caplog))
