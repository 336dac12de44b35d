"""Prints what the doctor finds."""

import httpx
from rich.console import Console
from rich.markup import escape

from app.db.database import Database
from app.operations.doctor.service import Doctor
from app.settings import Settings


async def print_findings(settings: Settings, url: str | None, console: Console) -> int:
    """Examine a deployment, print a line for each check, and return the number of those that failed."""
    database = Database(settings)
    failures = 0
    try:
        async with httpx.AsyncClient(timeout=20) as client:
            async for finding in Doctor(settings, database, client, url).examine():
                console.print(
                    f"{'FAIL' if finding.remedy else 'OK':4}  {finding.subject:12}  {escape(finding.detail)}",
                    style="red" if finding.remedy else None,
                    highlight=False,
                )
                if finding.remedy:
                    failures += 1
                    console.print(f"{'':20}Fix: {escape(finding.remedy)}", highlight=False)
    finally:
        await database.close()
    return failures
