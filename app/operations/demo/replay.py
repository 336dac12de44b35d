"""Starts the service on a new database, replays the experiment through the HTTP API and prints the results."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from app.accounts.projects.service import AccountService, NewProject
from app.db import migrations
from app.db.database import Database
from app.db.models import utc_now
from app.operations.demo import hillstrom, states
from app.settings import Settings

BATCH = 1_000
START_SECONDS = 30.0

Json = Any  # response bodies of the API


@dataclass(frozen=True)
class Access:
    """The address of the started service, and the credentials of its new project."""

    address: str
    project_id: int
    token: str
    key: str
    sign_in: str  # the token of a link that signs in once


def run(console: Console, *, stay: bool) -> int:
    """Run the demonstration. Return the exit status: 0 if every figure equals the published one."""
    with tempfile.TemporaryDirectory(prefix="abacus-demo-") as folder, _service(Path(folder)) as access:
        console.print(f"Abacus listens on [bold]{access.address}[/bold], on a fresh SQLite file.\n")
        with httpx.Client(base_url=access.address, timeout=120) as client:
            experiments = f"/api/projects/{access.project_id}/experiments/"
            client.headers["Authorization"] = f"Bearer {access.key}"
            experiment = client.post(experiments, json=hillstrom.experiment()).raise_for_status().json()
            _send_events(console, client, access.token)
            path = f"{experiments}{experiment['id']}"
            results = client.get(f"{path}/results/").raise_for_status().json()
            visits = client.get(f"{path}/secondary_results/", params={"id": 0}).raise_for_status().json()["result"]
            decision = client.get(f"{path}/decision/").raise_for_status().json()
            agrees = _show(console, results, visits, decision)
            if stay:
                _make_examples(client, experiments, access.token)
        if stay:
            _stay(console, access, experiment["id"], path)
    return 0 if agrees else 1


@contextlib.contextmanager
def _service(folder: Path) -> Iterator[Access]:
    """Start the service as a process of its own and stop it at the end."""
    url = f"sqlite+aiosqlite:///{folder / 'abacus.db'}"
    settings = Settings(database_url=url)
    migrations.upgrade(settings)
    made, sign_in = asyncio.run(_set_up(settings))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "app.cli", "serve", "--port", str(port)]
    environment = {**os.environ, "ABACUS_DATABASE_URL": url}
    with (folder / "serve.log").open("w+") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)  # noqa: S603  # our own command
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_until_ready(address, process, log.name)
            yield Access(address, made.project.id, made.project.api_token, made.personal_api_key, sign_in)
        finally:
            process.terminate()
            process.wait(timeout=30)


async def _set_up(settings: Settings) -> tuple[NewProject, str]:
    """Create a project, and a link that signs its user in."""
    database = Database(settings)
    try:
        async with database.write() as session:
            accounts = AccountService(session)
            made = await accounts.set_up_project(
                name="Demo shop", email="demo@example.com", organization_name="Demo", timezone="UTC"
            )
            return made, await accounts.create_sign_in_link(made.user.email)
    finally:
        await database.close()


def _wait_until_ready(address: str, process: subprocess.Popen[bytes], log: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{address}/_readyz", timeout=2).status_code == httpx.codes.OK:
                return
        time.sleep(0.1)
    raise OSError(f"the service did not start:\n{Path(log).read_text()[-2000:]}")


def _send_events(console: Console, client: httpx.Client, token: str) -> None:
    columns = (TextColumn("Sending events to /batch/"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("events", total=hillstrom.EVENT_COUNT)
        for batch in _batches(hillstrom.events()):
            answer = client.post("/batch/", json={"api_key": token, "batch": batch})
            if answer.raise_for_status().json() != {"status": 1}:
                raise OSError(f"unexpected response of capture: {answer.text[:200]}")
            progress.advance(task, len(batch))


def _batches(events: Iterator[dict[str, Any]]) -> Iterator[Sequence[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for event in events:
        batch.append(event)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _make_examples(client: httpx.Client, experiments: str, token: str) -> None:
    """Create experiments in other states, with their data, of these days."""
    now = utc_now()
    for example in states.EXAMPLES:
        made = client.post(experiments, json=example.body(now)).raise_for_status().json()
        for batch in _batches(example.events(now)):
            client.post("/batch/", json={"api_key": token, "batch": batch}).raise_for_status()
        if example.ships:
            body = {"variant_key": example.ships, "conclusion": "won", "conclusion_comment": "Fewer people leave."}
            client.post(f"{experiments}{made['id']}/ship_variant/", json=body).raise_for_status()


def _show(console: Console, results: Json, visits: Mapping[str, float], decision: Json) -> bool:
    """Print the results beside the published figures; return whether they are equal, and the page says the same."""
    console.print("\n[bold]Which e-mail sells?[/bold] Kevin Hillstrom's experiment of 2008, 64,000 customers.")
    found = {variant["key"]: variant for variant in results["variants"]}
    bought = _table("Arm", "customers", "bought", "rate", "published", "95 % interval", "P(best)")
    visited = _table("Arm", "visits", "published")
    agrees = True
    for arm in hillstrom.ARMS:
        variant = found[arm.key]
        purchases = variant["success_count"]
        customers = purchases + variant["failure_count"]
        low, high = results["credible_intervals"][arm.key]
        agrees &= (customers, purchases) == (arm.customers, arm.conversions)
        agrees &= visits[arm.key] == round(arm.visits / arm.customers, 3)
        bought.add_row(
            arm.name,
            f"{customers:,}",
            f"{purchases:,}",
            f"{purchases / customers:.3%}",
            f"{arm.conversions / arm.customers:.3%}",
            f"{low:.2%}-{high:.2%}",
            f"{results['probability'][arm.key]:.6f}",
        )
        visited.add_row(arm.name, f"{visits[arm.key]:.1%}", f"{arm.visits / arm.customers:.1%}")
    console.print(bought, visited)
    p_best = results["probability"]["mens_email"]
    agrees &= round(p_best, 6) == hillstrom.PUBLISHED_P_BEST_OF_MENS_EMAIL
    console.print(
        f"[bold]Send the men's e-mail[/bold]: it sells best with probability {p_best:.4%} "
        f"({results['significance_code']})."
    )
    is_the_same = (decision["recommendation"], decision["variant_key"]) == ("ship", "mens_email")
    console.print(f"Its page says{'' if is_the_same else ' something else'}: {decision['summary']}")
    console.print(
        "Every figure equals the published one." if agrees else "[red]The figures differ from the published ones.[/red]"
    )
    return bool(agrees and is_the_same)


def _table(first: str, *others: str) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)  # fits into 80 columns
    table.add_column(first, no_wrap=True)
    for heading in others:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _stay(console: Console, access: Access, experiment_id: int, path: str) -> None:
    page = f"{access.address}/experiments/{access.project_id}/{experiment_id}"
    link = f"{access.address}/experiments/sign-in/?link={access.sign_in}"
    console.print("\nThe project has four more experiments: running, broken, shipped, and a draft. Sign in once with")
    console.print(f"\n{link}\n", soft_wrap=True, highlight=False)
    console.print(f"or open [bold]{page}[/bold] and sign in with the key\n\n{access.key}\n", soft_wrap=True)
    console.print(f"The API is documented at [bold]{access.address}/docs[/bold]. For example:\n")
    console.print(
        f"curl -H 'Authorization: Bearer {access.key}' {access.address}{path}/results/", soft_wrap=True, highlight=False
    )
    console.print("\nPress Ctrl-C to stop the service and delete its file.")
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(3600)
