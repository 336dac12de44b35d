"""Builds the documentation as a site."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.programs import ROOT


def build_guide(folder: Path) -> None:
    """Build as `make docs-site` does: a warning, such as of a broken link, is an error."""
    config = ROOT / "docs/site/mkdocs.yml"
    options = ["--quiet", "--strict", "--config-file", str(config), "--site-dir", str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", *options],
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
