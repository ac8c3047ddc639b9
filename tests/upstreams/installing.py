"""What tests install for themselves: other people's servers, once, into the checkout's ``.cache/``.

``$XDG_CACHE_HOME``, where it is set, wins over the checkout. Nothing goes into the environment that runs the tests.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path


class NotInstalled(Exception):
    """The server is not there, and can not be installed; the message says what to do."""


def cache() -> Path:
    """The folder that servers are installed into."""
    if home := os.environ.get("XDG_CACHE_HOME"):
        return Path(home) / "flask-dualstorage"
    folder = Path(__file__).parents[2] / ".cache"
    folder.mkdir(exist_ok=True)
    (folder / ".gitignore").write_text("*\n")
    return folder


def installed(name: str, install: Callable[[Path], None]) -> Path:
    """The folder ``name`` of the cache, once ``install`` was through with it; parallel callers wait for the first."""
    folder = cache() / name
    # An installer killed half-way leaves half of it: only the stamp says that all is there.
    stamp = folder / "installed"
    if not stamp.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not stamp.exists():
                install(folder)
                stamp.touch()
    return folder


def run(command: Sequence[str | Path]) -> None:
    """Run a step of an installation. Raises `NotInstalled` with what it complained of."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        shown = " ".join(map(str, command))
        raise NotInstalled(f"`{shown}` failed: {(done.stderr.strip() or done.stdout.strip())[-2000:]}")


def venv(name: str, requirements: Path) -> Path:
    """The ``bin`` of a virtual environment that holds ``requirements``; made anew when they or Python change."""
    made_of = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:12]

    def install(folder: Path) -> None:
        run([sys.executable, "-m", "venv", "--clear", folder / "venv"])
        pip = [folder / "venv" / "bin" / "python", "-m", "pip", "--disable-pip-version-check"]
        run([*pip, "install", "--quiet", "--requirement", requirements])

    return installed(f"{name}-{made_of}", install) / "venv" / "bin"
