"""``python -m example_app``, or ``make demo``: the upstream and the app, each on its port, until Ctrl-C."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from werkzeug.serving import make_server

from example_app.app import INSTANCE, create_app
from example_app.ports import HOST, past_proxies, taken
from example_app.upstream import start_other, start_upstream
from example_app.upstreams import CHOSEN, DECLARED

#: What listens on a port, by the variable that chooses it.
PORTS = {"PORT": 5050, "UPSTREAM_PORT": 5051, "UPSTREAM_CONTROL_PORT": 5052}

READY = """\
The directory is at  http://{host}:{port}
Its upstream, {what}, is at http://{host}:{upstream_port}{shown_at}
What you do is kept in {instance}. Ctrl-C ends both.
"""


def main() -> None:
    """Start both; end both with Ctrl-C or SIGTERM."""
    instance = parse_options()
    past_proxies()
    port, upstream_port, control_port = check_ports({name: port_from(name) for name in PORTS})
    check_folder(instance)
    for ending in (signal.SIGINT, signal.SIGTERM):  # the first, too: a shell's background job ignores it
        signal.signal(ending, signal.default_int_handler)
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # no line for each request
    try:
        with start(instance, upstream_port, control_port):
            serve(instance, port, upstream_port, control_port)
    except RuntimeError as error:
        complain(str(error))
    except KeyboardInterrupt:
        print("\nEnded. The next start finds everything as it is now.")


def start(instance: Path, port: int, control_port: int) -> subprocess.Popen[str]:
    """Start the upstream that was chosen."""
    if CHOSEN == "example":
        return start_upstream(port, control_port, instance / "upstream.sqlite")
    return start_other(CHOSEN, port, control_port, instance / "upstream")


def serve(instance: Path, port: int, upstream_port: int, control_port: int) -> None:
    """Serve the app until interrupted."""
    config = {
        "DUALSTORAGE_UPSTREAM_URL": f"http://{HOST}:{upstream_port}{DECLARED.path}",
        "UPSTREAM_CONTROL_URL": f"http://{HOST}:{control_port}",
    }
    server = make_server(HOST, port, create_app(config, instance), threaded=True)
    what = "an API of its own" if CHOSEN == "example" else CHOSEN
    ready = READY.format(
        host=HOST, port=port, what=what, upstream_port=upstream_port, shown_at=DECLARED.shown_at, instance=instance
    )
    print(ready, end="", flush=True)
    server.serve_forever()


def parse_options() -> Path:
    """The command line's only option: the folder that the data is kept in."""
    # Each upstream has ids of its own: what is kept of one means nothing to another.
    instance = INSTANCE if CHOSEN == "example" else INSTANCE / CHOSEN
    parser = argparse.ArgumentParser(prog="python -m example_app", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--instance", type=Path, default=instance, help="the folder to keep data in (%(default)s)")
    folder: Path = parser.parse_args().instance
    return folder.absolute()


def port_from(name: str) -> int:
    """The port that the variable ``name`` chooses, or its default."""
    text = os.environ.get(name) or str(PORTS[name])
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        complain(f"{name} is {text!r}; it takes the number of a port, 1 to 65535.")
    return int(text)


def check_ports(ports: dict[str, int]) -> list[int]:
    """Complain about ports that can not be had, before anything is started."""
    for name, port in ports.items():
        if taken(port):
            complain(
                f"Port {port} can not be had: another program listens there (another demo, perhaps). "
                f"Choose another: make demo {name}={port + 1000 if port < 60_000 else 5050}"
            )
    if len(set(ports.values())) < len(ports):
        complain(f"{', '.join(ports)} must be three ports, and are {', '.join(map(str, ports.values()))}.")
    return list(ports.values())


def check_folder(instance: Path) -> None:
    """Complain about a folder that can not keep anything."""
    try:
        instance.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        complain(f"The folder {instance} can not be made: {error.strerror}. Choose another with --instance.")
    if not os.access(instance, os.W_OK | os.X_OK):
        complain(f"The folder {instance} can not be written to. Choose another with --instance.")


def complain(sentence: str) -> NoReturn:
    """End with a sentence on standard error."""
    print(sentence, file=sys.stderr)
    raise SystemExit(1)


if __name__ == "__main__":
    main()
