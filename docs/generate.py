"""Writes the references of settings, limits, command line, recommendations and API from the code: `make docs`.

python docs/generate.py

`tests/docs/test_references.py` fails when a file is not what this makes of the code.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # as a program this stands beside `app`, wherever it is called from

import typer.main  # noqa: E402
from pydantic.fields import FieldInfo  # noqa: E402

from app import cli, settings  # noqa: E402
from app.common import limits  # noqa: E402
from app.experiments.scorecard import decision_table  # noqa: E402
from app.main import create_app  # noqa: E402

REFERENCE = ROOT / "docs" / "reference"
_MADE = "<!-- Made by docs/generate.py from the code: change the code and run `make docs`. -->"
_METHODS = ("get", "post", "put", "patch", "delete")


def references() -> dict[Path, str]:
    """Return the text of each generated file."""
    return {
        REFERENCE / "settings.md": _page("Settings", _settings()),
        REFERENCE / "limits.md": _page("Limits", _limits()),
        REFERENCE / "command-line.md": _page("Command line", _command_line()),
        REFERENCE / "recommendations.md": _page("Recommendations", _recommendations()),
        REFERENCE / "api.md": _page("API", _api(create_app().openapi())),
    }


def _page(title: str, lines: Iterable[str]) -> str:
    return "\n".join([f"# {title}", "", _MADE, "", *lines]).rstrip() + "\n"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield "|" + "---|" * len(headings)
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def _settings() -> Iterator[str]:
    yield "Every setting is an environment variable. A misspelled name, or one that is given twice, stops the start."
    yield "`NAME_FILE` instead of `NAME` names a file that holds the value, as orchestrators hand out secrets."
    yield ""
    former: dict[str, list[str]] = {}
    for old, name in settings._FORMER_NAMES.items():
        former.setdefault(name, []).append(_variable(old))
    rows = []
    for name, field in settings.Settings.model_fields.items():
        description = field.description or ""
        if name in former:
            description += f" Formerly {', '.join(former[name])}, which is still read."
        rows.append((_variable(name), _default(field), description))
    yield from _table(("variable", "default", "meaning"), rows)


def _variable(name: str) -> str:
    return f"`{settings.ENVIRONMENT_PREFIX}{name.upper()}`"


def _default(field: FieldInfo) -> str:
    value = field.default
    if value in (None, "", []):
        return "unset"
    if isinstance(value, list):
        value = ",".join(str(part) for part in value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _limits() -> Iterator[str]:
    yield "What one request, event, person or document may cost, and what happens to more than that."
    yield "Error bodies: [Conventions](api-conventions.md). Rates of requests: [Settings](settings.md)."
    yield ""
    rows = [(limit.subject, _quantity(limit), limit.consequence, limit.reason) for limit in limits.ALL]
    yield from _table(("subject", "at most", "what exceeds it", "reason"), rows)


def _quantity(limit: limits.Limit) -> str:
    """Return a value with its unit: 1 MiB, 10,000, 60 s."""
    if limit.unit == "seconds":
        return f"{limit.value:,} s"
    if limit.unit == "items":
        return f"{limit.value:,}"
    for unit, name in ((limits.MIB, "MiB"), (limits.KIB, "KiB")):
        if limit.value % unit == 0:
            return f"{limit.value // unit:,} {name}"
    return f"{limit.value:,} bytes"


def _recommendations() -> Iterator[str]:
    yield "`GET experiments/{id}/decision/`, pages and reports say the same: what the state of an experiment and its"
    yield "evidence lead to. Every combination has an answer."
    yield ""
    yield "`variant_key` is always the variant to serve to everyone: the best one, the baseline, or what was decided."
    yield "It is null while the split itself is to be served. What the evidence rests on:"
    yield "[What the numbers mean](../explanation/what-the-numbers-mean.md#health-and-decision)."
    yield "In words, `{variant}` is the variant to serve, `{left}` the time left where it can be estimated, and"
    yield "`{decided}` what was decided."
    yield from ("", "## States", "")
    yield from _table(("state", "meaning"), ((f"`{name}`", text) for name, text in decision_table.STATES.items()))
    yield from ("", "## Evidence", "", "The first one that applies.", "")
    yield from _table(("evidence", "meaning"), ((f"`{name}`", text) for name, text in decision_table.EVIDENCE.items()))
    for state, answers in decision_table.TABLE.items():
        yield from ("", f"## `{state}`", "")
        evidence: dict[decision_table.Answer, list[str]] = {}
        for name in decision_table.EVIDENCE:
            evidence.setdefault(answers[name], []).append(f"`{name}`")
        rows = [
            (
                "all" if len(evidence) == 1 else ", ".join(names),
                f"`{answer.recommendation}`",
                answer.serves or "the split",
                answer.advice,
            )
            for answer, names in evidence.items()
        ]
        yield from _table(("evidence", "recommendation", "to serve", "in words"), rows)


def _command_line() -> Iterator[str]:
    yield "Every command reads the [settings](settings.md) of the service. When it fails, it prints the reason in"
    yield "one line and exits with 1."
    group = typer.main.get_command(cli.app)
    for path, command in _commands(group, "abacus"):
        arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
        usage = " ".join([path, *(argument.name.upper() for argument in arguments)])
        yield from ("", f"## `{usage}`", "", " ".join((command.help or "").split()))
        rows = list(_parameters(command))
        if rows:
            yield ""
            yield from _table(("parameter", "default", "meaning"), rows)


def _commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield the commands of a group and of the groups inside it, with what is typed to run each."""
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, inner in command.commands.items():
        if not inner.hidden:
            yield from _commands(inner, f"{path} {name}")


def _parameters(command: Any) -> Iterator[tuple[str, str, str]]:
    for parameter in command.params:
        is_option = parameter.param_type_name == "option"
        name = ", ".join(parameter.opts) if is_option else parameter.name.upper()
        if parameter.required:
            default = "required"
        else:
            default = "none" if parameter.default in (None, "", False) else f"`{parameter.default}`"
        yield f"`{name}`", default, parameter.help or ""


def _api(document: Mapping[str, Any]) -> Iterator[str]:
    yield "Operations by subject. Fields, types and examples are at `/docs` of a service and in `/openapi.json`."
    yield "How to send keys and what errors look like: [Conventions](api-conventions.md)."
    operations: dict[str, list[Sequence[str]]] = {}
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                operation = item[method]
                row = (f"`{method.upper()} {path}`", operation["summary"], _scope(operation))
                operations.setdefault(operation["tags"][0], []).append(row)
    for tag in document["tags"]:
        yield from ("", f"## {tag['name']}", "", tag["description"], "")
        yield from _table(("operation", "does", "scope"), operations[tag["name"]])


def _scope(operation: Mapping[str, Any]) -> str:
    scopes = [scope for scheme in operation.get("security", []) for named in scheme.values() for scope in named]
    return ", ".join(f"`{scope}`" for scope in scopes) or "project token"


def main() -> None:
    for path, text in references().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
