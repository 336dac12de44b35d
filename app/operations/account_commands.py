"""Commands that create, list and change accounts and their secrets, which `app/cli.py` adds to its own."""

import json
import re
import sys
import zoneinfo
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Final, Protocol, TypeVar

import typer
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.table import Table

from app.accounts.auth.schemas import KeyLabel
from app.accounts.auth.scopes import EVERYTHING
from app.accounts.projects.schemas import ProjectName
from app.accounts.projects.service import AccountService
from app.db.models import PersonalApiKey
from app.pages.credentials import PREFIX
from app.settings import Settings

Result = TypeVar("Result")

_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")
_LONGEST_EMAIL: Final = 254
# What the API takes.
_NAMES: Final = TypeAdapter[str](ProjectName)
_LABELS: Final = TypeAdapter[str](KeyLabel)
_WIDE: Final = 10_000  # characters: in a file or a pipe every row is one line

Email = Annotated[str, typer.Option("--email", help="The user's e-mail address.")]
Join = Annotated[bool, typer.Option("--join", help="Make the user a member of an existing organization.")]


class RunWithAccounts(Protocol):
    """Runs work on accounts in one transaction."""

    def __call__(self, work: Callable[[AccountService], Awaitable[Result]], /) -> Result: ...


def _check(option: str, kind: TypeAdapter[str], text: str) -> None:
    try:
        kind.validate_python(text)
    except ValidationError as error:
        raise ValueError(f"{option}: {error.errors()[0]['msg']}") from error


def check_email(text: str) -> str:
    """Return an e-mail address of a new user; refuse what cannot be one."""
    if _EMAIL.fullmatch(text) is None or len(text) > _LONGEST_EMAIL:
        raise ValueError(f"--email {text!r} is not an e-mail address, such as ann@example.com")
    return text


def print_table(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table in which nothing is cut: cells are folded on a screen, and rows are one line elsewhere."""
    table = Table()
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(str, row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDE)
    console.print(table, highlight=False, markup=False)


def print_keys(keys: Sequence[PersonalApiKey]) -> None:
    rows = [
        (
            key.id,
            key.label,
            key.mask,
            " ".join(key.scopes),
            f"{key.created_at:%Y-%m-%d %H:%M}",
            f"{key.last_used_at:%Y-%m-%d %H:%M}" if key.last_used_at else "never",
        )
        for key in keys
    ]
    print_table(("id", "label", "key", "scopes", "created", "last used"), rows)


def add_account_commands(projects: typer.Typer, keys: typer.Typer, users: typer.Typer, run: RunWithAccounts) -> None:
    """Add the commands to those of projects, keys and users."""
    _add_project_commands(projects, run)
    _add_key_commands(keys, run)
    _add_user_commands(users, run)


def _add_project_commands(projects: typer.Typer, run: RunWithAccounts) -> None:
    @projects.command("create")
    def create_project(
        name: Annotated[str, typer.Option(help="Name of the project.")],
        email: Email,
        organization: Annotated[
            str | None,
            typer.Option(
                help="Name of the organization: a new one, or one that the user is a member of. By default the one"
                " that the user joined first, or a new one with the project's name."
            ),
        ] = None,
        join: Join = False,  # noqa: FBT002  # a flag of the command line
        timezone: Annotated[str, typer.Option(help="Time zone of the days in results.")] = "UTC",
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,  # noqa: FBT002  # a flag of the command line
    ) -> None:
        """Create a project, with its organization and user if missing.

        Prints a new personal API key, which is shown once.
        """
        if timezone not in zoneinfo.available_timezones():
            raise ValueError(f"{timezone!r} is not a time zone of the IANA database, such as Europe/Amsterdam")

        check_email(email)
        _check("--name", _NAMES, name)
        if organization is not None:
            _check("--organization", _NAMES, organization)

        async def create(accounts: AccountService) -> dict[str, object]:
            made = await accounts.set_up_project(
                name=name, email=email, organization_name=organization, timezone=timezone, joins=join
            )
            return {
                "project_id": made.project.id,
                "project_token": made.project.api_token,
                "personal_api_key": made.personal_api_key,
                "user_email": made.user.email,
                "organization": made.project.organization.name,
            }

        created = run(create)
        if as_json:
            sys.stdout.write(json.dumps(created) + "\n")
            return
        for label, value in created.items():
            sys.stdout.write(f"{label:17} {value}\n")

    @projects.command("list")
    def list_projects() -> None:
        """List all projects with their organizations and tokens."""
        found = run(lambda accounts: accounts.list_projects())
        rows = [(one.id, one.name, one.organization.name, one.timezone, one.api_token) for one in found]
        print_table(("id", "name", "organization", "time zone", "token"), rows)

    @projects.command("rotate-token")
    def rotate_token(
        project_id: Annotated[int, typer.Option("--project", help="The id of the project.")],
        is_confirmed: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,  # noqa: FBT002  # a flag
    ) -> None:
        """Replace the public token of a project, and print the new one. SDKs with the old one are refused at once."""
        if not is_confirmed:
            typer.confirm("Every SDK that has the old token is refused from now on. Replace it?", abort=True, err=True)
        sys.stdout.write(run(lambda accounts: accounts.rotate_token(project_id)) + "\n")


def _add_key_commands(keys: typer.Typer, run: RunWithAccounts) -> None:
    @keys.command("create")
    def create_key(
        email: Email,
        label: Annotated[str, typer.Option(help="A name for the key.")] = "Command line",
        scope: Annotated[
            list[str] | None,
            typer.Option(help="A scope of the key, such as experiment:read. Repeatable; all scopes if not given."),
        ] = None,
    ) -> None:
        """Create a personal API key and print it. It is shown once."""
        _check("--label", _LABELS, label)

        async def create(accounts: AccountService) -> str:
            return (await accounts.create_key(email, label, scope or [EVERYTHING]))[1]

        sys.stdout.write(run(create) + "\n")

    @keys.command("list")
    def list_keys(email: Email) -> None:
        """List the keys of a user. Their values are not stored."""
        print_keys(run(lambda accounts: accounts.list_keys(email)))

    @keys.command("revoke")
    def revoke_key(key_id: Annotated[int, typer.Argument(help="The id of the key, from `abacus key list`.")]) -> None:
        """Revoke a key. It stops working at once."""
        run(lambda accounts: accounts.revoke_key(key_id))
        sys.stdout.write(f"Revoked key {key_id}.\n")

    @keys.command("rotate")
    def rotate_key(
        key_id: Annotated[int, typer.Argument(help="The id of the key, from `abacus key list`.")],
    ) -> None:
        """Replace the value of a key, and print the new one. Label and scopes stay; the old value stops working."""
        sys.stdout.write(run(lambda accounts: accounts.rotate_key(key_id)) + "\n")


def _add_user_commands(users: typer.Typer, run: RunWithAccounts) -> None:
    @users.command("deactivate")
    def deactivate_user(email: Email) -> None:
        """Deactivate a user. Their keys stop working; everything that they created stays."""
        run(lambda accounts: accounts.deactivate_user(email))
        sys.stdout.write(f"Deactivated {email}.\n")

    @users.command("sign-in-link")
    def create_sign_in_link(
        email: Email,
        url: Annotated[
            str | None,
            typer.Option(help="The address that people use; ABACUS_PUBLIC_URL by default, else the local one."),
        ] = None,
    ) -> None:
        """Print a link that signs a user in to the pages once. It works for an hour, and may do everything."""
        address = url or str(Settings.from_environment().public_url or "http://127.0.0.1:8000")
        token = run(lambda accounts: accounts.create_sign_in_link(email))
        sys.stdout.write(f"{address.rstrip('/')}{PREFIX}/sign-in/?link={token}\n")

    @users.command("list")
    def list_users() -> None:
        """List all users with their organizations."""
        rows = []
        for user, organizations in run(lambda accounts: accounts.list_users()):
            state = "active" if user.is_active else "deactivated"
            rows.append((user.id, user.email, state, ", ".join(organizations), f"{user.created_at:%Y-%m-%d %H:%M}"))
        print_table(("id", "email", "state", "organizations", "created"), rows)

    @users.command("activate")
    def activate_user(email: Email) -> None:
        """Activate a user who was deactivated. Their keys work again."""
        run(lambda accounts: accounts.activate_user(email))
        sys.stdout.write(f"Activated {email}.\n")
