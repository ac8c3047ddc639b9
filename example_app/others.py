"""An upstream that others wrote, with its first people, behind a line with a plug to pull.

It is a process of its own, and the server another one that ends with it::

    python -m example_app.others kinto --port 5051 --control-port 5052 --folder instance/kinto/upstream

The servers are those of the tests (``tests/upstreams``), which install them once into ``.cache/``. The control port
speaks as that of ``example_app.upstream`` does, without latency and hang.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import requests
from werkzeug.exceptions import ServiceUnavailable

from example_app.line import Line
from example_app.ports import HOST, free_port, past_proxies
from example_app.upstream import ENDINGS, Server, create_control, end_with_parent, in_background
from example_app.upstream_api import Invalid
from example_app.upstreams import UPSTREAMS, Declared
from tests.upstreams import drf, json_server, kinto
from tests.upstreams.installing import NotInstalled
from tests.upstreams.process import ServerProcess

Start = Callable[[Path, int], ServerProcess]


def a_json_server(folder: Path, port: int) -> ServerProcess:
    """json-server; its file stays."""
    return json_server.JsonServer(json_server.command(), folder, port, {"people": [], "notes": []})


def a_kinto(folder: Path, port: int) -> ServerProcess:
    """Kinto, in memory: it begins anew at each start."""
    return kinto.Kinto(kinto.command(), folder, port, page=None)


def a_drf(folder: Path, port: int) -> ServerProcess:
    """A Django REST framework site; its database stays."""
    return drf.Drf(drf.command(), folder, port, page=1000)


STARTS: dict[str, Start] = {"json_server": a_json_server, "kinto": a_kinto, "drf": a_drf}


def seed(declared: Declared, url: str) -> None:
    """Put the example's first people there, unless there are some."""
    with requests.Session() as session:
        session.trust_env = False
        if isinstance(declared.credential, tuple):
            session.auth = declared.credential
        else:
            session.headers.update(declared.credential or {})
        people = declared.people + ("/" if declared.dialect.slash else "")
        if listed(session.get(url + people, timeout=10).json()):
            return
        for person in json.loads(Path(__file__).with_name("seed.json").read_text("utf-8")):
            notes = person.pop("notes")
            made = put(session, declared, url + people, person)
            address = url + declared.notes.format(person_id=made["id"]) + ("/" if declared.dialect.slash else "")
            for text in notes:
                put(session, declared, address, {"text": text})


def listed(body: Any) -> Any:
    """The list in an answer, wherever it stands."""
    return body if isinstance(body, list) else body.get("data", body.get("results"))


def put(session: requests.Session, declared: Declared, url: str, record: dict[str, Any]) -> dict[str, Any]:
    """Create a record there; one that numbers nothing itself gets the same ids at each start, so that links last."""
    if declared.dialect.new_id:
        record = {"id": str(uuid5(NAMESPACE_URL, f"{url.partition('/v1')[2]}#{record}")), **record}
    wrap = declared.dialect.wrap
    answer = session.post(url, json={wrap: record} if isinstance(wrap, str) else record, timeout=10)
    answer.raise_for_status()
    made: dict[str, Any] = answer.json()
    return made[wrap] if isinstance(wrap, str) else made


class LinePlug:
    """The plug of a line, as the control port turns it."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def report(self) -> dict[str, Any]:
        """How things stand."""
        return {"state": "in" if self._line.plugged_in else "out"}

    def turn(self, wish: Any) -> None:
        """Do what was asked of the control port. Raises `Invalid`."""
        if not isinstance(wish, dict) or wish.get("state") not in ("in", "out") or len(wish) > 1:
            raise Invalid({"state": ['Must be "in" or "out", and there is no other field.']})
        try:
            (self._line.push if wish["state"] == "in" else self._line.pull)()
        except OSError:
            raise ServiceUnavailable(f"Another program listens on port {self._line.port} now.") from None


def main() -> None:
    """Serve until told to end, or until standard input closes where ``--with-parent`` asks for that."""
    options = parse_options()
    # Blocked in every thread: only sigwait below takes them.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    past_proxies()
    declared = UPSTREAMS[options.name]
    try:
        server = STARTS[options.name](options.folder, free_port())
    except NotInstalled as error:
        raise SystemExit(f"{options.name} can not be installed: {error}") from None
    with server:
        seed(declared, server.origin + declared.path)
        line = Line(options.port, server.port)
        line.push()
        in_background(Server(options.control_port, create_control(LinePlug(line))).serve_forever)
        print(
            f"{options.name} is at http://{HOST}:{options.port}, its plug at port {options.control_port}.", flush=True
        )
        if options.with_parent:
            in_background(end_with_parent)
        signal.sigwait(ENDINGS)
        line.pull()


def parse_options() -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(prog="python -m example_app.others", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("name", choices=sorted(STARTS))
    parser.add_argument("--port", type=int, default=5051, help="where the API is (%(default)s)")
    parser.add_argument("--control-port", type=int, default=5052, help="where its plug is (%(default)s)")
    parser.add_argument("--folder", type=Path, required=True, help="where it keeps its data")
    parser.add_argument("--with-parent", action="store_true", help="end when standard input closes")
    return parser.parse_args()


if __name__ == "__main__":
    main()
