"""Who holds a connection awaits nothing that may take another one: each could hold its first and wait for a second."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.test_architecture import MODULES

OPENING = re.compile(r"database(\(\w+\))?\.(read|write|snapshot)\(")
# What else is awaited while a connection is held, and takes none.
TAKES_NONE = {
    "slices.pause()": "gives others their turn",
    "clickhouse.execute(statement)": "of ClickHouse: a migration, while others are kept out",
    "self._archived.remove_all()": "of ClickHouse: at the end of a command",
    "planned.insert()": "of ClickHouse: no other process may insert meanwhile",
    "self._verify(planned.counts, behind, reached)": "of ClickHouse: as the insert",
    "self._count(series_id)": "of ClickHouse: nothing may be inserted meanwhile",
}


def opened(node: ast.AsyncWith) -> Iterator[str]:
    """Yield the names of the sessions that a statement opens."""
    for item in node.items:
        if item.optional_vars is not None and OPENING.search(ast.unparse(item.context_expr)):
            yield ast.unparse(item.optional_vars)


def names_in(node: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


def awaited(node: ast.AST) -> ast.expr | None:
    match node:
        case ast.Await(value=awaited) | ast.AsyncFor(iter=awaited):
            return awaited
        case ast.AsyncWith(items=[item, *_]):
            return item.context_expr
    return None


def awaits_without_session(statement: ast.AsyncWith) -> Iterator[str]:
    """Yield what a block awaits that has neither its session nor what was made of that."""
    inside = [one for part in statement.body for one in ast.walk(part)]
    known = set(opened(statement))
    for one in inside:
        if isinstance(one, ast.Assign) and names_in(one.value) & known:
            known |= {name for target in one.targets for name in names_in(target)}
    for one in inside:
        expression = awaited(one)
        if expression is not None and not names_in(expression) & known:
            yield ast.unparse(expression)


def test_who_holds_a_connection_awaits_only_what_uses_it() -> None:
    texts = {module: path.read_text() for module, path in MODULES.items()}
    found = {
        f"{module} awaits {expression}"
        for module, text in texts.items()
        if OPENING.search(text)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.AsyncWith) and any(opened(node))
        for expression in awaits_without_session(node)
        if expression not in TAKES_NONE
    }

    assert found == set()


@pytest.mark.parametrize(
    ("body", "is_fine"),
    [
        ("await Repository(session).get(1)", True),
        ("one = Repository(session); await one.get(1)", True),
        ("await self._service.get(1)", False),
        ("async with database.read() as other:\n            await Repository(other).get(1)", False),
    ],
)
def test_second_connection_is_found(body: str, is_fine: bool) -> None:  # a parameter
    source = f"async def work():\n    async with database.write() as session:\n        {body}"
    [statement, *_] = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.AsyncWith)]

    assert (not list(awaits_without_session(statement))) is is_fine
