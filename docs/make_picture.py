"""Photographs the demonstration's experiment page for the front page and the guide: `make picture`.

python docs/make_picture.py

It runs `abacus demo --serve`, which stores the experiment in a fresh SQLite file, and signs in with the key that this
prints. The pictures are the same as long as the page is: the experiment's data and dates are fixed.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
CHARTS = ("densities", "days")
PICTURES = {
    "light": {"experiment": "experiment.png", **{chart: f"{chart}-light.png" for chart in CHARTS}},
    "dark": {"experiment": "experiment-dark.png", **{chart: f"{chart}-dark.png" for chart in CHARTS}},
}
MODULES = ROOT / ".clients" / "pages"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
WIDTH = 1200
MOST_BYTES = 300_000


@contextlib.contextmanager
def _demonstration() -> Iterator[tuple[str, str]]:
    """Run the demonstration; yield the address of its experiment's page, and a key."""
    command = [sys.executable, "-m", "app.cli", "demo", "--serve"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield _find(process, r"http://\S+/experiments/\d+/\d+"), _find(process, r"phx_[\w-]+")
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)


def _find(process: subprocess.Popen[str], pattern: str) -> str:
    """Read what the demonstration prints until a line that holds the pattern."""
    for line in process.stdout or ():
        found = re.search(pattern, line)
        if found is not None:
            return found[0]
    raise RuntimeError(f"the demonstration ended without printing {pattern!r}")


def main() -> None:
    with _demonstration() as (page, key):
        task = {
            "page": page,
            "key": key,
            "charts": CHARTS,
            "pictures": {
                scheme: {name: str(IMAGES / file) for name, file in pictures.items()}
                for scheme, pictures in PICTURES.items()
            },
            "width": WIDTH,
            "modules": str(MODULES),
            "chromium": CHROMIUM,
        }
        script = ROOT / "docs" / "make_picture.mjs"
        subprocess.run(["node", str(script)], input=json.dumps(task), text=True, check=True, timeout=300)
    for picture in IMAGES.glob("*.png"):
        size = picture.stat().st_size
        if size > MOST_BYTES:
            raise RuntimeError(f"{picture.name} has {size:,} bytes, more than {MOST_BYTES:,}")


if __name__ == "__main__":
    main()
